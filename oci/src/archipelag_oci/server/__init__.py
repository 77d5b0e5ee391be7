"""A small registry of the OCI distribution specification, for tests and for one machine without another."""
