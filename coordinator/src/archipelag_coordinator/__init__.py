"""The Archipelag control plane: decides, records, settles."""

__version__ = "0.1.0"
