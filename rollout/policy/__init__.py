"""What a project allows: caps, allow-lists and prices, and the usage that they limit. Pure."""
