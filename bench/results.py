"""What was measured, as values: the keys with their targets, the file they are written to, and the
table they are shown in.

Each measurement makes a `Row` with `row`; `bench/__main__.py` collects them. The targets are here
and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Key:
    """`at_most` or `at_least` is the target; with neither it is a figure to know."""

    name: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str | None:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        if self.at_most is None:
            return None
        return f"<= {self.at_most:g}" if self.at_most else "= 0"

    def met(self, value: float | None) -> bool | None:
        """None where there is no target, or nothing to hold against it."""
        if value is None or self.target is None:
            return None
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0)


KEYS = (
    Key("cold_start_ratio", "ratio", 0.6),
    Key("cold_start_intake_ratio", "ratio", 0.4),
    Key("memory_mib", "MiB", 160),
    Key("provision_over_critical_path", "ratio", 1.15),
    Key("swap_mutations_per_step", "calls", 2),
    Key("settled_turn_writes", "writes", 0),
    Key("settled_turn_cpu_ms", "ms", 15),
    Key("provision_vs_gcloud", "ratio"),
    Key("swap_vs_gcloud", "ratio"),
    Key("standin_rolling_update_cpu_ms", "ms", 50),
    Key("standin_list_5000_groups_s", "s", 1),
    Key("standin_memory_per_group_kib", "KiB", 20),
    Key("standin_requests_per_second", "1/s", at_least=1000),
)


@dataclass(frozen=True)
class Row:
    """`value` is None where it could not be measured, and `how` says why; `detail` is what the
    value was made from."""

    key: Key
    value: float | None
    how: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        return self.key.met(self.value)

    def as_json(self) -> dict[str, Any]:
        known = {
            "value": self.value,
            "unit": self.key.unit,
            "target": self.key.target,
            "met": self.met,
            "how": self.how,
        }
        return known | {"detail": dict(self.detail)}


def row(name: str, value: float | None, how: str, **detail: Any) -> Row:
    key = next(key for key in KEYS if key.name == name)
    return Row(key, None if value is None else round(value, 3), how, detail)


def written(rows: Iterable[Row], facts: Mapping[str, Any]) -> str:
    """The results file's text."""
    return _text({row.key.name: row.as_json() for row in rows}, facts)


def merged(kept: Mapping[str, Any], rows: Iterable[Row], facts: Mapping[str, Any]) -> str:
    """The file's text with some rows measured anew: the others and the machine stay, and the new
    ones say when they were made."""
    when = {name: facts[name] for name in ("at", "load_before") if name in facts}
    found = dict(kept["results"])
    for row in rows:
        found[row.key.name] = (known := row.as_json()) | {
            "detail": known["detail"] | {"measured": when}
        }
    return _text({key.name: found[key.name] for key in KEYS if key.name in found}, kept["machine"])


def _text(results: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return (
        json.dumps({"machine": dict(facts), "results": dict(results)}, indent=2, ensure_ascii=False)
        + "\n"
    )


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
