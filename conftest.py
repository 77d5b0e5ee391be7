"""What every package's tests may use: a real PostgreSQL and real NATS servers."""

pytest_plugins = ["archipelag_embedded.fixtures"]
