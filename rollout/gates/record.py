"""What is stored of each gate that judges by windows: its verdict, and what that came from. Pure.

A record lasts for one rollout and the watch after it. Its tally is that of the present step, since
each step asks anew; the dispersion is that of the whole rollout.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal

from rollout.deferred import dataclass
from rollout.gates.burn import History, Pair
from rollout.gates.statistics import Dispersion, Tally

VerdictKind = Literal["pass", "fail", "inconclusive", "error"]


@dataclass(frozen=True)
class GateRecord:
    """`evaluated_until`: the end of the last window that counts, or was found to have no numbers.
    `step`: that of the tally. `threshold` and `evidence` are those of the verdict: E against the
    release for a fail, else what the gate needs to pass; for a limit, the limit and the value.
    `lacking_since`: since when no window has had numbers. `beyond`: windows in a row beyond the
    limit, and `failures` all of them in this step. `edges` are those of a latency histogram in
    seconds, with how many requests of the step took at most so long on each side; `second_opinion`
    says at which edge both distributions differ, if they surely do. `history`: what the stable
    release had, from before the rollout on. `full_since`: since when the release has had all
    requests, and `recent` its last windows since then, at most `burn.LONG`. `logged`: the verdict
    in its last entry of the log, and `logged_at` when that was.
    """

    gate: str
    verdict: VerdictKind = "inconclusive"
    why: str = ""
    since: datetime | None = None
    query: str = ""
    step: int = -1
    evaluated_until: datetime | None = None
    lacking_since: datetime | None = None
    evidence: float | None = None
    threshold: float | None = None
    tally: Tally = field(default_factory=Tally)
    dispersion: Dispersion = field(default_factory=Dispersion)
    beyond: int = 0
    failures: int = 0
    edges: tuple[float, ...] = ()
    baseline_below: tuple[float, ...] = ()
    candidate_below: tuple[float, ...] = ()
    second_opinion: str = ""
    history: History = field(default_factory=History)
    full_since: datetime | None = None
    recent: tuple[Pair, ...] = ()
    logged: VerdictKind = "inconclusive"
    logged_at: datetime | None = None
