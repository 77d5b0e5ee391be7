"""NATS as the message fabric: credentials, connections, the Island bus, the chunk relay and the report queue."""
