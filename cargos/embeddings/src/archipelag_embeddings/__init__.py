"""Texts to vectors whose nearness is nearness of meaning: the MiniLM sentence model in numpy, nothing else."""
