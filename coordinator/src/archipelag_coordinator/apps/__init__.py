"""Audiences: doors that authenticate, parse, call verbs and present."""
