"""Writes the table of results in `docs/bench.md` from `bench/results.json`, so that the page holds
only measured numbers.

    python -m bench.page           writes it
    python -m bench.page --check   prints whether it is stale, and fails if it is

Results that could not be measured, or that missed their target, are marked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.generate import replace_marked

ROOT = Path(__file__).parent.parent
PAGE, RESULTS = ROOT / "docs/bench.md", ROOT / "bench/results.json"
NOTHING = "Nothing has been measured in this checkout yet."


def table(measured: Mapping[str, Any]) -> str:
    """A row for each key, and what it was measured on."""
    rows = [_row(key, result) for key, result in measured["results"].items()]
    machine = measured["machine"]
    kind = ", ".join(str(machine[name]) for name in ("processor", "system") if machine.get(name))
    on = f"On {machine.get('cores', '?')} cores ({kind}), Python {machine.get('python', '?')}."
    return "\n".join(["| key | value | target | how |", "|---|---|---|---|", *rows, "", on])


def _row(key: str, result: Mapping[str, Any]) -> str:
    value = "not measured" if result["value"] is None else f"{result['value']:g} {result['unit']}"
    missed = " (missed)" if result.get("met") is False else ""
    cells = (f"`{key}`", f"{value}{missed}", result["target"] or "none", result["how"])
    return (
        "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"
    )


def update(text: str) -> str:
    """The page's text with a new table."""
    measured = table(json.loads(RESULTS.read_text("utf-8"))) if RESULTS.exists() else NOTHING
    return replace_marked(text, "results", measured)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m bench.page [--check]")
        return 2
    text = PAGE.read_text("utf-8")
    fresh = update(text)
    if arguments:
        if fresh != text:
            print("docs/bench.md is stale; run python -m bench.page")
        return int(fresh != text)
    PAGE.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
