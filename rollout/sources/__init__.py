"""Artifacts that appear in registries and buckets: which of them are releases, and of which model.

Pure. `handlers/sources/` reads the messages of each vendor, `handlers/artifact.py` publishes.
"""
