"""The folder that the workers of one test run share, and results in it that each needs and one
makes.
"""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

RUN_FOLDER = "SLIPWAY_TEST_RUN"  # the environment variable, which the workers inherit
T = TypeVar("T")


def shared(name: str, make: Callable[[], T]) -> T:
    """The result that the first worker makes while the others wait for it. Outside of a test run,
    this process makes it.
    """
    if RUN_FOLDER not in os.environ:
        return make()
    path = Path(os.environ[RUN_FOLDER]) / f"{name}.pickle"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_bytes(pickle.dumps(make()))
        found: T = pickle.loads(path.read_bytes())
        return found
