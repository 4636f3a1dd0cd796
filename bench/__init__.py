"""Measures Slipway's speed and size: `make bench` prints a table and writes `bench/results.json`.

See docs/bench.md.
"""
