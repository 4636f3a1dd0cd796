"""Evaluation jobs that judge a release: one port, and an adapter for signed HTTPS."""
