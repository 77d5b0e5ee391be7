"""The native runtime: a Cargo as a process of this host, in a bubblewrap sandbox where that can be had."""

from archipelag_island.adapters.runtimes.native.rights import Rights
from archipelag_island.adapters.runtimes.native.runtime import NativeRuntime

__all__ = ["NativeRuntime", "Rights"]
