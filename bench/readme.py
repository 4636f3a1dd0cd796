"""Writes the table of speed and size in `README.md` from what was measured, so that no number
stands there that nobody measured.

    python -m bench.readme           writes it
    python -m bench.readme --check   says whether it is stale, and fails if it is

What could not be measured, and what missed its target, is shown as such.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.generate import inserted

ROOT = Path(__file__).parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "bench/results.json"
NOTHING = "Nothing has been measured in this checkout yet."


def table(measured: Mapping[str, Any]) -> str:
    """A row for each key, and what it was measured on."""
    rows = [_row(key, result) for key, result in measured["results"].items()]
    machine = measured["machine"]
    told = ", ".join(str(machine[name]) for name in ("processor", "system") if machine.get(name))
    on = f"On {machine.get('cores', '?')} cores ({told}), Python {machine.get('python', '?')}."
    return "\n".join(["| key | value | target | how |", "|---|---|---|---|", *rows, "", on])


def _row(key: str, result: Mapping[str, Any]) -> str:
    value = "not measured" if result["value"] is None else f"{result['value']:g} {result['unit']}"
    missed = " (missed)" if result.get("met") is False else ""
    cells = (f"`{key}`", f"{value}{missed}", result["target"] or "none: to know", result["how"])
    return (
        "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"
    )


def updated(readme: str) -> str:
    measured = table(json.loads(RESULTS.read_text("utf-8"))) if RESULTS.exists() else NOTHING
    return inserted(readme, "speed", measured)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m bench.readme [--check]")
        return 2
    text = README.read_text("utf-8")
    fresh = updated(text)
    if arguments:
        if fresh != text:
            print("the speeds in README.md are stale; run python -m bench.readme")
        return int(fresh != text)
    README.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
