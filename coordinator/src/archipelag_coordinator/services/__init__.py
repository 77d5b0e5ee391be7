"""Verbs: one story a module; each call is one transaction."""
