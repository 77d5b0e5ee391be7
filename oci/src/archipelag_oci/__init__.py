"""OCI formats, registries and images: what an Island pulls and a Cargo's author pushes."""
