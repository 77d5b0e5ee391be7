"""A tiny Cargo that says its input again, word by word: for tests and for trying out a network."""
