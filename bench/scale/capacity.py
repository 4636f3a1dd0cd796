"""Computes for `docs/scale.md` what one project holds and costs, from counted calls and published
limits and prices. Pure.

The counts come from `bench/results.json`, limits and prices with their sources from `limits.json`.
`bench/page.py` writes the tables, and a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale.setting import COMPUTE_SECONDS, CONCURRENCY, INSTANCES, STORE_SECONDS
from handlers.reconcile import routine

KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "limits.json").read_text("utf-8"))
MEMORY_GIB = 0.5
LINES, LINE_KIB = 3, 1
"""Log lines of a delivery, and the size of one: estimates."""
SCANS_A_MONTH = 30 * 24 * 12
TICKS_A_MONTH = 30 * 24 * 60
TICK_SECONDS = 1.0
"""Of a function's time: an estimate."""
NO_CAPS = "no"


@dataclass(frozen=True)
class Work:
    """What one release costs, counted: calls of Compute Engine by kind, of the store, and
    deliveries of messages.
    """

    name: str
    reads: float
    changes: float
    wait_calls: float
    store_calls: float = 0.0
    deliveries: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Of functions, at most: one call after the other, and the CPU time."""
        calls = self.reads + self.changes + self.wait_calls
        return calls * COMPUTE_SECONDS + self.store_calls * STORE_SECONDS + self.cpu_seconds


def detail(measured: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = measured["results"][key]["detail"]
    return found


def largest(measured: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The counts of the largest size of a story."""
    sizes: Mapping[str, Any] = detail(measured, key)["sizes"]
    return sizes[list(sizes)[-1]]  # type: ignore[no-any-return]


def first_release(measured: Mapping[str, Any]) -> Work:
    found = largest(measured, "scale_first_releases_min")
    kinds = found["by_kind"]
    return Work(
        "a first release",
        kinds["read"],
        kinds["change"],
        kinds["wait"],
        found["store_calls"],
        found["deliveries"],
        found["cpu_ms"] / 1000,
    )


def swap(measured: Mapping[str, Any]) -> Work:
    kinds = detail(measured, "scale_swap_calls")["slow"]["by_kind"]
    return Work("a swap in three steps", kinds["read"], kinds["change"], kinds["wait"])


# ---- Tables


def limits(measured: Mapping[str, Any]) -> str:
    rows = [
        (each["of"], _limit(each), each["note"], f"[{_host(each)}]({each['source']})")
        for each in KNOWN["limits"].values()
    ]
    return _table(("what", "limit", "", "source"), rows)


def capacity(measured: Mapping[str, Any]) -> str:
    """What each limit allows; the least comes first in each part."""
    value = {name: each["value"] for name, each in KNOWN["limits"].items()}
    first, swapped = first_release(measured), swap(measured)
    results = measured["results"]
    under_caps = detail(measured, "scale_admissions_at_once_lost")["sizes"]
    size = list(under_caps)[-1]
    at_once = int(size.partition(",")[0])
    until_admitted = under_caps[size]["minutes_until_all_are_admitted"]
    at_quota = list(detail(measured, "scale_quota_min")["sizes"])[-1]
    count = list(detail(measured, "scale_first_releases_min")["sizes"])[-1]
    hourly = [
        (
            f"{at_quota} at once at the quota, measured",
            60 * int(at_quota) / results["scale_quota_min"]["value"],
            f"{results['scale_quota_min']['value']:g} min until all serve",
            NO_CAPS,
        ),
        (
            f"{count} at once without a quota, measured",
            60 * int(count) / results["scale_first_releases_min"]["value"],
            f"{results['scale_first_releases_min']['value']:g} min in"
            f" {INSTANCES * CONCURRENCY} slots",
            NO_CAPS,
        ),
        (
            "admissions under project caps",
            value["document"] * 3600,
            "all write `settings/admission`, one write a second",
            "**on**",
        ),
        (
            f"{at_once} at once under project caps, measured",
            60 * at_once / until_admitted,
            f"{until_admitted:g} min until all are admitted,"
            f" {under_caps[size]['conflicts'] / at_once:.0f} conflicts each",
            "**on**",
        ),
        *(
            (
                f"{kind}: {what} a minute",
                60 * value[what] / amount,
                f"{amount:.0f} {what} each",
                NO_CAPS,
            )
            for kind, what, amount in (
                (first.name, "reads", first.reads),
                (first.name, "changes", first.changes),
                (swapped.name, "reads", swapped.reads),
                (swapped.name, "changes", swapped.changes),
            )
        ),
        (
            "Cloud Tasks",
            value["tasks"] * 3600 / first.deliveries,
            f"at most {first.deliveries:.0f} tasks each",
            NO_CAPS,
        ),
    ]
    rows = [
        (what, f"{amount:,.0f}", why, caps)
        for what, amount, why, caps in sorted(hourly, key=lambda each: each[1])
    ]
    return _table(("bounded by", "releases an hour", "because", "project caps"), rows)


def models(measured: Mapping[str, Any]) -> str:
    value = {name: each["value"] for name, each in KNOWN["limits"].items()}
    passes = value["reads"] * routine.SHARE / routine.READS
    gateway = detail(measured, "scale_gateway_models")["shapes"]
    rows = [
        *(
            (f"one gateway, {shape}", f"{each['models']:,}", each["fullest"])
            for shape, each in gateway.items()
        ),
        (
            "bakes with a pass every two minutes",
            f"{passes * 2:,.0f}",
            f"{routine.READS:g} reads each, of 70 % of {value['reads']:,} a minute",
        ),
        (
            "paused for a day, with a tenth of the reads",
            f"{value['reads'] / 10 / 15 * 360:,.0f}",
            "a pass in six hours, 15 reads each",
        ),
        (
            "settled",
            "-",
            "no pass; the drift scan lists 500 of a collection in a read, every five minutes",
        ),
    ]
    return _table(("models", "at most", "because"), rows)


def costs(measured: Mapping[str, Any]) -> str:
    """For a thousand first releases, and a settled model for a month."""
    usd = {name: each["usd"] for name, each in KNOWN["prices"].items()}
    work = first_release(measured)
    second = usd["vcpu_second"] + MEMORY_GIB * usd["gib_second"]
    thousand = {
        "Cloud Run": 1000 * (work.seconds * second + work.deliveries * usd["request"]),
        "Firestore": 1000 * work.store_calls * usd["document_write"],
        "Pub/Sub": 1000 * work.deliveries * usd["message"],
        "Cloud Tasks": 1000 * work.deliveries * 2 * usd["task_operation"],
        "Cloud Logging": 1000 * work.deliveries * LINES * LINE_KIB * usd["log_kib"],
    }
    project = {
        "Cloud Run": TICKS_A_MONTH * (TICK_SECONDS * second + usd["request"]),
        "Firestore": TICKS_A_MONTH * (8 * usd["document_read"] + usd["document_write"]),
        "Pub/Sub": TICKS_A_MONTH * usd["message"],
        "Cloud Scheduler": usd["job_month"],
        "Cloud Logging": TICKS_A_MONTH * LINE_KIB * usd["log_kib"],
    }
    settled = {"Firestore": SCANS_A_MONTH * usd["document_read"]}
    columns = (thousand, settled, project)
    names = [*dict.fromkeys(name for each in columns for name in each)]
    rows = [
        (name, *(_dollars(each[name]) if name in each else "" for each in columns))
        for name in names
    ]
    total = ("**together**", *(f"**{_dollars(sum(each.values()))}**" for each in columns))
    head = ("", "1,000 first releases", "a settled model, a month", "the project itself, a month")
    return _table(head, [*rows, total])


def prices(measured: Mapping[str, Any]) -> str:
    rows = [
        (each["of"], f"${each['usd']:.10f}".rstrip("0"), f"[{_host(each)}]({each['source']})")
        for each in KNOWN["prices"].values()
    ]
    return _table(("what", "price", "source"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _limit(each: Mapping[str, Any]) -> str:
    return f"{each['value']:,} {each['unit']}" if each["value"] else "by project"


def _host(each: Mapping[str, Any]) -> str:
    return str(each["source"]).removeprefix("https://").partition("/")[0]


def _dollars(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 0.1 else f"${amount:.4f}"
