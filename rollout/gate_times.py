"""How many windows a gate needs until it has its verdict, at which traffic. Pure.

Called by `infra/fleet/forecast_steps.py` for a plan, and for the table in docs/gates.md. Each
window has exactly as many requests and bad ones as are expected, so a release gets its verdict in
about the median time of those whose numbers vary by chance. The verdicts are those of
`analysis.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rollout import analysis
from rollout.deferred import dataclass
from rollout.gates.clocks import Clock, encode
from rollout.gates.record import GateRecord
from rollout.measurements import Counts, WindowAnswer, WindowMeasured, Windows
from rollout.model import FULL_WEIGHT, Evidence, Progress, Rollout, Stepping
from rollout.spec.gates import kind_of
from rollout.strategies import has_own_group
from rollout.transitions import candidate_of

MOST = 240
"""Windows after which nobody waits any longer."""
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
"""When the step began; no verdict depends on it."""
LEAD = 10
"""Windows from then to the first one that counts: the route has been right for long."""


@dataclass(frozen=True)
class GateTraffic:
    """What a gate counts of the stable release while it has all requests."""

    requests_per_second: float
    bad_share: float


def traffic_of(answers: Mapping[str, WindowAnswer]) -> dict[str, GateTraffic]:
    """By gate, as far as the source of metrics has numbers with requests."""
    found = {}
    for gate, answer in answers.items():
        windows = answer.windows if isinstance(answer, Windows) else ()
        counted = [each for each in windows if isinstance(each.candidate, Counts)]
        seconds = sum((each.end - each.start).total_seconds() for each in counted)
        counts = [each.candidate for each in counted if isinstance(each.candidate, Counts)]
        total, bad = sum(each.total for each in counts), sum(each.bad for each in counts)
        if seconds and total:
            found[gate] = GateTraffic(total / seconds, bad / total)
    return found


def seconds_to_pass(
    rollout: Rollout, gate: str, step: int, share: float, traffic: GateTraffic | None
) -> int:
    """From when the step has its requests; what the gate needs at least if its time does not depend
    on traffic, or that is not known.
    """
    settings = candidate_of(rollout).spec.rollout.analysis
    windows = settings.min_windows
    if traffic and compares(rollout, gate):
        found = windows_to_pass(rollout, gate, step, share, traffic)
        windows = max(windows, found or MOST)
    return settings.warm_up_seconds + windows * settings.window_seconds


def compares(rollout: Rollout, gate: str) -> bool:
    """Whether it compares two releases, so that its time depends on traffic."""
    return kind_of(gate, candidate_of(rollout).spec.rollout.gates[gate]) in analysis.COMPARISONS


def windows_to_pass(
    rollout: Rollout, gate: str, step: int, share: float, traffic: GateTraffic
) -> int | None:
    """The fewest windows after which a release that is as good as the stable one passes; None:
    more than `MOST`. `share`: the part of the requests that the candidate has in the step.
    """
    if record_after(rollout, gate, step, share, traffic, MOST).verdict != "pass":
        return None
    few, many = 0, MOST
    while many - few > 1:
        middle = (few + many) // 2
        if record_after(rollout, gate, step, share, traffic, middle).verdict == "pass":
            many = middle
        else:
            few = middle
    return many


def windows_to_fail(
    rollout: Rollout, gate: str, step: int, share: float, traffic: GateTraffic, ratio: float
) -> int | None:
    """The windows after which a release fails that has `ratio` times the bad requests."""
    record = record_after(rollout, gate, step, share, traffic, MOST, ratio)
    if record.verdict != "fail" or record.evaluated_until is None:
        return None
    span = timedelta(seconds=candidate_of(rollout).spec.rollout.analysis.window_seconds)
    return round((record.evaluated_until - BEGUN) / span) - LEAD


def record_after(
    rollout: Rollout,
    gate: str,
    step: int,
    share: float,
    traffic: GateTraffic,
    windows: int,
    ratio: float = 1.0,
) -> GateRecord:
    """The gate's record after so many windows of the step, or after the one in which it fails."""
    seconds = candidate_of(rollout).spec.rollout.analysis.window_seconds
    requests = traffic.requests_per_second * seconds
    candidate, stable = requests * share, requests * (1 - share)
    bad = min(1.0, ratio * traffic.bad_share)
    edge = candidate_of(rollout).spec.rollout.gates[gate].slower_than_seconds
    span = timedelta(seconds=seconds)
    measured = tuple(
        WindowMeasured(
            BEGUN + number * span,
            BEGUN + (number + 1) * span,
            _counts(bad * candidate, candidate, edge),
            _counts(traffic.bad_share * stable, stable, edge),
        )
        for number in range(LEAD, LEAD + windows)
    )
    evidence = Evidence(windows={gate: Windows(measured, "")})
    after = analysis.update(_in_step(rollout, step, share), evidence, measured[-1].end)
    return next(each for each in after.gates if each.gate == gate)


def _counts(bad: float, total: float, edge: float | None) -> Counts:
    below = ((edge, total - bad), (math.inf, total)) if edge else ()
    return Counts(bad, total, below)


def _in_step(rollout: Rollout, step: int, share: float) -> Rollout:
    """As long ago as the windows begin, with nothing judged yet."""
    weight = round(share * FULL_WEIGHT) if has_own_group(rollout) else 0
    routed = BEGUN if has_own_group(rollout) else None
    clocks = encode({"0": Clock("healthy", BEGUN)})
    return replace(
        rollout,
        phase=Stepping(step, BEGUN, weight, routed, granted=step + 1),
        progress=Progress(1, BEGUN, clocks=clocks),
        gates=(),
        failure=None,
    )
