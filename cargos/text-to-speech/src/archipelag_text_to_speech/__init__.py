"""Text to speech, by a small English voice."""
