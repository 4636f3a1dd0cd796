"""What Compute Engine decides: pure functions on plain values, without state, wire or clock."""
