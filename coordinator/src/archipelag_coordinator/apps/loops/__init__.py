"""Time as an audience: what must happen within a second, again and again."""
