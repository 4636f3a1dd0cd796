"""Draws releases: what is bad about each, and the noise around it. Pure but for its random source.

Of the bad ones, each kind is a fifth: twice the errors, five times the errors, twice as many slow
requests, errors only under load, and errors only of requests with a certain header. All of them at
least double the errors (or the slow requests) that users would see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

ERRORS, LATENCY = "http_errors", "latency"
GOOD = "good"
BAD = ("errors x2", "errors x5", "latency x2", "under load", "one header")
ERROR_SHARES = (0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.001, 0.0)
"""What the stable release has: 1 % in eight of ten releases."""
SLOW_SHARE = 0.05
DISPERSIONS = (1.0, 4.0)


@dataclass(frozen=True)
class SimulatedRelease:
    """`shares`: by gate, which share of the stable release's requests is bad. The candidate's is
    `factors` times that, from a weight of `from_weight` percent on, and `added` more.
    `dispersion`: variance over mean of the bad requests in a minute of each release by itself; 1 is
    Poisson's.
    """

    kind: str
    shares: Mapping[str, float]
    dispersion: float
    factors: Mapping[str, float] = field(default_factory=dict)
    from_weight: float = 0.0
    added: Mapping[str, float] = field(default_factory=dict)

    def candidate_share(self, gate: str, share: float, weight: float) -> float:
        """What `share`, the stable release's at this moment, is on the candidate."""
        factor = self.factors.get(gate, 1.0) if weight >= self.from_weight else 1.0
        return min(1.0, share * factor + self.added.get(gate, 0.0))


def draw(kind: str, seed: int) -> SimulatedRelease:
    random = Random(f"{kind} {seed}")
    errors, dispersion = random.choice(ERROR_SHARES), random.choice(DISPERSIONS)
    factors: dict[str, float] = {}
    added: dict[str, float] = {}
    from_weight = 0.0
    if kind.startswith("errors"):
        errors = errors or 0.01  # twice nothing is nothing
        factors[ERRORS] = float(kind.removeprefix("errors x"))
    elif kind == "latency x2":
        factors[LATENCY] = 2.0
    elif kind == "under load":
        errors = errors or 0.01
        factors[ERRORS], from_weight = random.uniform(2, 5), random.choice((25.0, 50.0))
    elif kind == "one header":
        added[ERRORS] = _harmful_cohort(random, errors)
    shares = {ERRORS: errors, LATENCY: SLOW_SHARE}
    return SimulatedRelease(kind, shares, dispersion, factors, from_weight, added)


def _harmful_cohort(random: Random, errors: float) -> float:
    """2 to 5 % of the requests, of which 10 to 30 % fail: drawn until that doubles the errors, or
    is 0.2 % of all requests.
    """
    while True:
        added = random.uniform(0.02, 0.05) * random.uniform(0.1, 0.3)
        if added >= max(errors, 0.002):
            return added
