"""The passes over one model: `loop` calls `observe`, `decide` and `save`, with the `lease` held.

`decide` is pure; all other modules do I/O. `drift_scan` finds the settled models that need a pass.
"""
