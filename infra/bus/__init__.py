"""The port for publishing, its implementations, and the parsing of what arrives. Import only the
implementation in use, to keep cold starts short.
"""
