"""Programs that some tests need and a machine may lack."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def require_program(name: str) -> str:
    """The path of an installed program, also of one that a Python package brings.

    Without it the calling test is skipped; in CI it fails.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        leave_out(f"{name} is not installed")
    return found


def leave_out(reason: str) -> NoReturn:
    """Skips the calling test; in CI fails it."""
    if is_ci():
        pytest.fail(f"CI must run this test, but {reason}")
    pytest.skip(reason)


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("true", "1")
