"""The decisions of Compute Engine: pure functions on plain values, without state, I/O or clock."""
