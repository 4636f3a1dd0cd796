"""Counts Python function calls: a cost that depends neither on the hour nor on other work on the
machine.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType

from bench.setting import ROOT


def count(run: Callable[[], object]) -> Counter[str]:
    """The calls that `run` makes in this thread, by whose code is called."""
    counted: Counter[CodeType] = Counter()

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            counted[frame.f_code] += 1

    sys.setprofile(on_event)
    try:
        run()
    finally:
        sys.setprofile(None)
    by_owner: Counter[str] = Counter()
    for code, calls in counted.items():
        by_owner[_owner(code.co_filename)] += calls
    return by_owner


def _owner(file: str) -> str:
    if "/compute_emulator/" in file:
        return "emulator"
    if "/site-packages/" in file:
        return "packages"
    return "slipway" if file.startswith(str(ROOT)) else "python"
