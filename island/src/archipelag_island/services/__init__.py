"""Verbs: one story a module."""
