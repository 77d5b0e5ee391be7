"""Mail: composed, handed to a server or kept in a local mailbox, never waited for."""
