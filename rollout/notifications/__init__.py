"""Notifications: which status event goes to which destination, and what it says there. Pure.

Called by `handlers/status.py`, which reads the settings and sends.
"""
