"""Fakes that ship, for tests of the Island and of whatever stands on it."""
