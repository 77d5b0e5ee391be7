"""Speech to text, by Whisper."""
