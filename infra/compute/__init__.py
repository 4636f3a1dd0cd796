"""Compute Engine through the official client: reads, requests and errors. `apply` runs a plan."""
