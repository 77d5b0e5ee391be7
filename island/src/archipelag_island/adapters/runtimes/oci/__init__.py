"""OCI containers: driven directly through an OCI runtime, or through an engine's API."""
