"""Sources of metrics: one port, an adapter for any Prometheus, and one for Cloud Monitoring."""
