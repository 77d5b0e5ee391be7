"""Nouns: pure values and rules; no time, no disk, no network."""
