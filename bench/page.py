"""Writes the tables in `docs/bench.md`, `docs/scale.md` and the README from
`bench/results.json`, so that the pages hold only measured numbers, and what follows from them.

    python -m bench.page           writes it
    python -m bench.page --check   prints whether it is stale, and fails if it is

Results that could not be measured, or that missed their target, are marked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.scale import capacity
from schemas.generate import replace_marked

ROOT = Path(__file__).parent.parent
PAGE, RESULTS = ROOT / "docs/bench.md", ROOT / "bench/results.json"
FIGURES = {
    "cold_start_ratio": "cold start of a pass, over a plain program with the usual imports",
    "rollback_failed_requests": "requests that fail while a canary at 50 % is taken back",
    "gates_bad_promoted": "bad releases of 1,000 that gates promote",
    "scale_first_releases_min": "{largest} first releases at once, until all serve",
    "scale_fresh_first_pass_s": "the first pass of 50 releases beside {largest} models",
}
BY_WEIGHT = "windows_to_fail_by_weight"
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


def rules(measured: Mapping[str, Any]) -> str:
    """How the simulated releases end by each rule that judges them."""
    head = (
        *("rule", "bad: promoted", "rolled back", "minutes until then"),
        *("good: rolled back", "left to a person", "promoted", "minutes until then"),
    )
    found = measured["results"].get("gates_bad_promoted", {}).get("detail", {}).get("rules", {})
    rows = [_of_rule(name, summary) for name, summary in found.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _of_rule(name: str, summary: Mapping[str, Any]) -> tuple[str, ...]:
    good, bad = summary["good"], summary["bad"]
    return (
        name,
        *(str(bad[end]) for end in ("promoted", "rolled_back")),
        _span(summary["minutes_to_roll_back"]),
        *(str(good[end]) for end in ("rolled_back", "left", "promoted")),
        _span(summary["minutes_to_promote"]),
    )


def windows(measured: Mapping[str, Any]) -> str:
    """Of the bad releases: in the step with which weight they are rolled back, and after how many
    windows of it, by each rule.
    """
    found = measured["results"].get("gates_bad_promoted", {}).get("detail", {}).get("rules", {})
    weights = sorted({w for each in found.values() for w in each[BY_WEIGHT]}, key=float)
    head = ("rule", *(f"{weight} %" for weight in weights))
    rows = [
        (name, *(_of_weight(summary[BY_WEIGHT].get(weight)) for weight in weights))
        for name, summary in found.items()
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _of_weight(found: Mapping[str, Any] | None) -> str:
    return f"{found['releases']}, after {_span(found)}" if found else ""


def _span(found: Mapping[str, Any]) -> str:
    return f"{found['median']:g} (95 %: {found['95 %']:g})" if found else ""


def figures(measured: Mapping[str, Any]) -> str:
    """The few results that the README shows."""
    found = measured["results"]
    rows = [
        f"| {what.format(largest=_largest(found[key]))} | {_value(found[key])} |"
        f" {found[key]['target'] or ''} |"
        for key, what in FIGURES.items()
    ]
    return "\n".join(["| measured | | target |", "|---|---|---|", *rows])


def _largest(result: Mapping[str, Any]) -> str:
    """The largest of the sizes in which it was measured."""
    sizes: Mapping[str, Any] = result["detail"].get("sizes", {"": None})
    return [*sizes][-1]


def _value(result: Mapping[str, Any]) -> str:
    return "not measured" if result["value"] is None else f"{result['value']:g} {result['unit']}"


PAGES: dict[Path, dict[str, Callable[[Mapping[str, Any]], str]]] = {
    PAGE: {"results": table, "rules": rules, "windows": windows},
    ROOT / "docs/scale.md": {
        "capacity": capacity.capacity,
        "models": capacity.models,
        "costs": capacity.costs,
        "limits": capacity.limits,
        "prices": capacity.prices,
    },
    ROOT / "README.md": {"figures": figures},
}
"""The tables of each page, by their marks."""


def update(text: str, page: Path = PAGE) -> str:
    """The page's text with new tables."""
    if not RESULTS.exists():
        return replace_marked(text, "results", NOTHING) if page == PAGE else text
    measured = json.loads(RESULTS.read_text("utf-8"))
    for mark, made in PAGES[page].items():
        text = replace_marked(text, mark, made(measured))
    return text


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m bench.page [--check]")
        return 2
    stale = 0
    for page in PAGES:
        text = page.read_text("utf-8")
        fresh = update(text, page)
        if arguments and fresh != text:
            stale = 1
            print(f"{page.relative_to(ROOT)} is stale; run python -m bench.page")
        elif not arguments:
            page.write_text(fresh, "utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
