"""What was measured, as values: the keys with their targets, the file they are written to, and the table they are shown in.

Each measurement makes a `Row` with `row`; `bench/__main__.py` collects them. The targets are here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Key:
    """`at_most` is the target; None: no target, a figure to know."""

    name: str
    unit: str
    at_most: float | None

    @property
    def target(self) -> str | None:
        if self.at_most is None:
            return None
        return f"<= {self.at_most:g}" if self.at_most else "= 0"


KEYS = (
    Key("cold_start_ratio", "ratio", 0.6),
    Key("cold_start_intake_ratio", "ratio", 0.4),
    Key("memory_mib", "MiB", 160),
    Key("provision_over_critical_path", "ratio", 1.15),
    Key("swap_mutations_per_step", "calls", 2),
    Key("settled_turn_writes", "writes", 0),
    Key("settled_turn_cpu_ms", "ms", 15),
    Key("provision_vs_gcloud", "ratio", None),
    Key("swap_vs_gcloud", "ratio", None),
)


@dataclass(frozen=True)
class Row:
    """`value` is None where it could not be measured, and `how` says why; `detail` is what the value was made from."""

    key: Key
    value: float | None
    how: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        if self.key.at_most is None or self.value is None:
            return None
        return self.value <= self.key.at_most

    def as_json(self) -> dict[str, Any]:
        known = {"value": self.value, "unit": self.key.unit, "target": self.key.target, "met": self.met, "how": self.how}
        return known | {"detail": dict(self.detail)}


def row(name: str, value: float | None, how: str, **detail: Any) -> Row:
    key = next(key for key in KEYS if key.name == name)
    return Row(key, None if value is None else round(value, 3), how, detail)


def written(rows: Iterable[Row], facts: Mapping[str, Any]) -> str:
    """The results file's text."""
    found = {row.key.name: row.as_json() for row in rows}
    return json.dumps({"machine": dict(facts), "results": found}, indent=2, ensure_ascii=False) + "\n"


def show(rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """The table on the terminal, and below it how each figure came about."""
    from rich.console import Console
    from rich.table import Table

    console, table = Console(highlight=False), Table(title="Slipway's speed and size")
    table.add_column("key", no_wrap=True)
    for name in ("value", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    for each in rows:
        value = "-" if each.value is None else f"{each.value:g} {each.key.unit}"
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each.met]
        table.add_row(each.key.name, value, each.key.target or "", met)
    console.print(table)
    for each in rows:
        console.print(f"[bold]{each.key.name}[/]: {each.how}")
    console.print(", ".join(f"{name} {fact}" for name, fact in facts.items()), style="dim")
