"""Pictures from words: latent diffusion, by a small model that comes along or by any diffusers checkpoint."""
