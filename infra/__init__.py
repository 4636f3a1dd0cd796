"""Adapters to the outside, composed in `wiring`; and `fleet/`, the pure planning of resources."""
