"""`python -m console`: the same as `slipway`."""

from __future__ import annotations

from console.main import run

run()
