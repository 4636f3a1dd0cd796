"""Sends notifications: one port, and an adapter for HTTPS."""
