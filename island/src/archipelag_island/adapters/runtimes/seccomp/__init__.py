"""Which system calls a Cargo may make, by profile: as an OCI runtime reads it, and as the kernel does."""

from archipelag_island.adapters.runtimes.seccomp.filters import UnknownMachine, bpf, oci_profile
from archipelag_island.adapters.runtimes.seccomp.policy import PROFILES

__all__ = ["PROFILES", "UnknownMachine", "bpf", "oci_profile"]
