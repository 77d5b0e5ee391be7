"""Serves a Cargo to its Island: gRPC on a Unix socket, in a process that dies with its parent."""
