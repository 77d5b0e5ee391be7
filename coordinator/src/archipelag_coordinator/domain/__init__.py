"""Nouns: pure values and their moves."""
