"""Which Slipway this is: its version, and a digest of its sources, so that two that differ in any
line are distinguished.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

NUMBER = "0.1.0"
"""As in pyproject.toml, which is not deployed."""
PACKAGES = ("handlers", "infra", "rollout")
"""What functions and the command line share."""


@cache
def version() -> str:
    """For example `0.1.0+3f2a91c0`."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(path for name in PACKAGES for path in (root / name).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{NUMBER}+{digest.hexdigest()[:8]}"


def number_of(text: str) -> tuple[int, ...]:
    """The number in a version, to compare; empty if it has none."""
    parts = text.partition("+")[0].split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
