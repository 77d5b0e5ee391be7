"""The Archipelag control plane: decides, records, settles."""
