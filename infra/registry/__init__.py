"""Registries of container images: one port, an adapter for the registry protocol, and an emulated
registry for images that exist only in the Compute Engine emulator.
"""
