"""Results as values: the keys with their targets, the results file, and the table on the terminal.

Each measurement creates a `Row` with `row`; `bench/__main__.py` collects them.
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
    """`at_most` or `at_least` is the target, if there is one."""

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
        """None without a target or a value."""
        if value is None or self.target is None:
            return None
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0)


KEYS = (
    Key("cold_start_ratio", "ratio", 0.33),
    Key("cold_start_intake_ratio", "ratio", 0.25),
    Key("memory_mib", "MiB", 160),
    Key("provision_over_critical_path", "ratio", 1.15),
    Key("swap_mutations_per_step", "calls", 2.5),
    Key("swap_function_calls", "calls"),
    Key("settled_pass_writes", "writes", 0),
    Key("settled_pass_cpu_ms", "ms", 15),
    Key("url_map_writes_for_51_routes", "writes", 3),
    Key("rollback_in_url_map_s", "s", 30),
    Key("healthy_condemned_percent", "%", 1),
    Key("crash_loops_succeeded", "releases", 0),
    Key("gates_bad_promoted", "releases", 0),
    Key("gates_good_rolled_back_percent", "%", 2),
    Key("gates_good_promoted_percent", "%", at_least=95),
    Key("gates_function_calls_per_pass", "calls"),
    Key("canary_failed_requests", "requests", 0),
    Key("blue_green_failed_requests", "requests", 0),
    Key("rollback_failed_requests", "requests", 0),
    Key("bad_canary_failed_over_share", "ratio", 1),
    Key("roll_back_over_promised", "ratio", 1),
    Key("provision_vs_gcloud", "ratio"),
    Key("swap_vs_gcloud", "ratio"),
    Key("status_1000_models_cpu_s", "s", 2),
    Key("plan_cpu_s", "s", 1.5),
    Key("page_1000_models_ms", "ms", 200),
    Key("page_firestore_cpu_ms", "ms", 200),
    Key("scale_swap_calls", "calls", 90),
    Key("scale_swap_over_group", "ratio", 1.08),
    Key("scale_quick_swap_over_group", "ratio", 1.08),
    Key("scale_first_releases_min", "min", 8),
    Key("scale_first_release_cpu_ms", "ms", 80),
    Key("scale_url_map_conflicts", "conflicts", 1000),
    Key("scale_quota_min", "min", 12),
    Key("scale_quota_calls", "calls", 120),
    Key("scale_dead_events", "events", 0),
    Key("scale_fresh_first_pass_s", "s", 10),
    Key("scale_baking_late_s", "s", 120),
    Key("scale_good_rolled_back", "releases", 0),
    Key("scale_drift_scan_cpu_s", "s", 15),
    Key("scale_drift_scan_mib", "MiB", 256),
    Key("scale_admission_cpu_ms", "ms", 50),
    Key("scale_admissions_at_once_lost", "releases", 0),
    Key("scale_gateway_models", "models"),
    Key("scale_gateway_refused_late", "routes", 0),
    Key("scale_gateway_write_cpu_ms", "ms", 30),
    Key("emulator_rolling_update_cpu_ms", "ms", 50),
    Key("emulator_swap_function_calls", "calls", 50_000),
    Key("emulator_list_5000_groups_s", "s", 1),
    Key("emulator_memory_per_group_kib", "KiB", 20),
    Key("emulator_requests_per_second", "1/s", at_least=1000),
    Key("emulator_first_answer_s", "s", 1),
)


@dataclass(frozen=True)
class Row:
    """`value` is None if it could not be measured; `how` then says why. `detail` contains what the
    value was computed from.
    """

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


def to_text(rows: Iterable[Row], facts: Mapping[str, Any]) -> str:
    """The text of the results file."""
    return _text({row.key.name: row.as_json() for row in rows}, facts)


def merged(kept: Mapping[str, Any], rows: Iterable[Row], facts: Mapping[str, Any]) -> str:
    """The file's text with some rows replaced. The other rows and the machine stay; the new rows
    say when they were measured.
    """
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
    """Prints a table, and how each value was measured."""
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
