"""Wakes a model at a given time: the port, and its adapters for Cloud Tasks and one process."""
