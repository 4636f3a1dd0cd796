"""Rolls 1,000 bad and 1,000 good releases out by each rule, and counts how they end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from statistics import median
from typing import Any

from bench.function_calls import count
from bench.gates.argo import EXAMPLE, TUNED, Argo
from bench.gates.kayenta import Kayenta
from bench.gates.releases import BAD, ERRORS, GOOD, SimulatedRelease, draw
from bench.gates.rollouts import SHORTEST, Outcome, Rule, roll_out
from bench.gates.slipway import Slipway
from bench.results import Row, row

RELEASES, FEWER = 1000, 100
SLIPWAY = "Slipway"


@dataclass(frozen=True)
class Setting:
    """A rule, and under which conditions so many good and so many bad releases are rolled out."""

    rule: Callable[[], Rule]
    releases: int = RELEASES
    requests_per_second: float = 100
    delay: int = 1


SETTINGS: Mapping[str, Setting] = {
    SLIPWAY: Setting(Slipway),
    "Argo Rollouts, the documentation's limits": Setting(partial(Argo, EXAMPLE)),
    "Argo Rollouts, limits chosen for the service": Setting(partial(Argo, TUNED)),
    "Kayenta, every minute": Setting(partial(Kayenta, every_minute=True)),
    "Kayenta, once per step": Setting(partial(Kayenta, every_minute=False)),
    "Slipway, metrics 5 minutes late": Setting(Slipway, FEWER, delay=5),
    "Slipway, 10 requests a second": Setting(Slipway, FEWER, 10),
}


@dataclass(frozen=True)
class Case:
    release: SimulatedRelease
    outcome: Outcome


def cases(name: str) -> list[Case]:
    """Good releases and as many bad ones, each kind of these the same number of times."""
    releases = SETTINGS[name].releases
    tasks = [
        (name, kind, seed)
        for kind in (GOOD, *BAD)
        for seed in range(releases if kind == GOOD else releases // len(BAD))
    ]
    with Pool(os.cpu_count()) as pool:
        return pool.starmap(case, tasks, chunksize=20)


def case(name: str, kind: str, seed: int) -> Case:
    setting, release = SETTINGS[name], draw(kind, seed)
    outcome = roll_out(
        release,
        setting.rule(),
        f"{kind} {seed}",
        requests_per_second=setting.requests_per_second,
        delay=setting.delay,
    )
    return Case(release, outcome)


def summary(found: Iterable[Case]) -> dict[str, Any]:
    """What happened to good and to bad releases, in numbers for people."""
    good: list[Case] = []
    bad: list[Case] = []
    for each in found:
        (good if each.release.kind == GOOD else bad).append(each)
    return {
        "good": _ends(good),
        "bad": _ends(bad),
        "minutes_to_promote": _percentiles([c.outcome.total for c in good if _is_promoted(c)]),
        "minutes_to_roll_back": _percentiles([c.outcome.total for c in bad if _is_gone(c)]),
        "bad_promoted_by_kind": dict(Counter(c.release.kind for c in bad if _is_promoted(c))),
        "good_by_errors_and_dispersion": {
            f"{100 * share:g} %, {dispersion:g}": _ends(group)
            for (share, dispersion), group in _grouped(good).items()
        },
        "windows_to_fail_by_weight": {
            f"{weight:g}": _percentiles(windows) | {"releases": len(windows)}
            for weight, windows in _windows_by_weight(bad).items()
        },
    }


def _is_promoted(found: Case) -> bool:
    return found.outcome.end == "promoted"


def _is_gone(found: Case) -> bool:
    return found.outcome.end == "rolled back"


def _ends(found: Sequence[Case]) -> dict[str, int]:
    ends = Counter(each.outcome.end for each in found)
    return {end.replace(" ", "_"): ends[end] for end in ("promoted", "rolled back", "left")}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {"median": median(ordered), "95 %": ordered[int(0.95 * (len(ordered) - 1))]}


def _grouped(found: Sequence[Case]) -> dict[tuple[float, float], list[Case]]:
    groups: dict[tuple[float, float], list[Case]] = {}
    for each in found:
        key = (each.release.shares[ERRORS], each.release.dispersion)
        groups.setdefault(key, []).append(each)
    return dict(sorted(groups.items(), reverse=True))


def _windows_by_weight(found: Sequence[Case]) -> dict[float, list[float]]:
    """Of the releases that are bad from the first weight on: how long the step took in which they
    were rolled back.
    """
    by_weight: dict[float, list[float]] = {}
    for each in found:
        if _is_gone(each) and not each.release.from_weight:
            by_weight.setdefault(each.outcome.weight, []).append(each.outcome.minutes[-1])
    return dict(sorted(by_weight.items()))


# ---- The rows


def measure() -> tuple[Row, ...]:
    found = {name: summary(cases(name)) for name in SETTINGS}
    ours = found[SLIPWAY]
    how = (
        f"{RELEASES} simulated releases at 100 requests a second, with the default steps, holds and"
        " bake and two gates (errors and latency); bursts of dispersion 4 in half of them"
    )
    return (
        row(
            "gates_bad_promoted", ours["bad"]["promoted"], f"bad ones promoted; {how}", rules=found
        ),
        row(
            "gates_good_rolled_back_percent",
            100 * ours["good"]["rolled_back"] / RELEASES,
            f"good ones rolled back; {how}",
        ),
        row(
            "gates_good_promoted_percent",
            100 * ours["good"]["promoted"] / RELEASES,
            f"good ones promoted without a person; {how}",
            minutes_at_least=SHORTEST,
        ),
        _calls(),
    )


def _calls() -> Row:
    release, outcomes = draw(GOOD, 0), []
    calls = count(lambda: outcomes.append(roll_out(release, Slipway(), "")))
    passes = outcomes[0].total
    return row(
        "gates_function_calls_per_pass",
        calls.total() / passes,
        f"Python function calls of {passes} passes of a good release with two gates, by the number"
        " of passes; each judges a window of each gate",
        by_owner=dict(calls),
    )
