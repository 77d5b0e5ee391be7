"""What a Coordinator tells those who watch it: figures for Prometheus, spans for OpenTelemetry."""
