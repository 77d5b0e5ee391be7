"""A whole network in one process and in virtual time: the real code, a seeded world, and checkers of every promise."""
