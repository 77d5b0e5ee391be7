"""Media from one form to another by FFmpeg, with named options only and a short list of what it may read."""
