"""Runtimes: what executes a Cargo."""
