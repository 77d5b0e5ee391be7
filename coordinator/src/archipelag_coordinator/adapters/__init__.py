"""Technologies: what the ports need, and with what."""
