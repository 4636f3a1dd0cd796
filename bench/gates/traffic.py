"""Counts of requests, minute by minute, with the noise of a real service. Pure but for its random
source.

- Requests arrive by Poisson and are split by the weight.
- The share of bad requests goes up and down by 30 % within three hours, on both sides alike.
- In one minute of fifty, something that both releases need fails: five times as many are bad.
- Each release has bursts of its own (`SimulatedRelease.dispersion`): its bad requests of a minute
  are gamma-Poisson with a variance of so many times the mean.
- The route of a new weight takes effect within the time that Slipway allows for it; of one step in
  five it comes up to a minute later than that.

Above a mean of 50, a Poisson number is drawn from the normal distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from bench.gates.releases import SimulatedRelease

DRIFT, DRIFT_MINUTES = 0.3, 180
SHARED_BURSTS, SHARED_BURST = 0.02, 5.0
LATE_STEPS = 0.2
PROPAGATION = 2
"""Minutes after which Slipway relies on a new route."""


@dataclass(frozen=True)
class Side:
    bad: int
    total: int


@dataclass(frozen=True)
class Minute:
    """One gate's requests of one minute."""

    candidate: Side
    stable: Side


class Traffic:
    """The minutes of one rollout, from the first on."""

    def __init__(self, release: SimulatedRelease, requests_per_second: float, seed: str) -> None:
        self.release = release
        self.per_minute = 60 * requests_per_second
        self.random = Random(seed)
        self.phase = self.random.uniform(0, 2 * math.pi)
        self.weights: list[tuple[float, float]] = [(0.0, 0.0)]
        self.minutes: list[dict[str, Minute]] = []

    def route(self, weight: float) -> None:
        """From now on the candidate gets `weight` percent, as soon as that has spread."""
        late = self.random.random() < LATE_STEPS
        spread = self.random.uniform(PROPAGATION, PROPAGATION + 1) if late else None
        spread = spread or self.random.uniform(0, PROPAGATION)
        self.weights.append((len(self.minutes) + spread, weight))

    def advance(self) -> None:
        """One more minute."""
        now, random = len(self.minutes), self.random
        parts = self._weights_of(now)
        expected = self.per_minute * sum(part * weight / 100 for part, weight in parts)
        totals = poisson(random, expected), poisson(random, self.per_minute - expected)
        swing = 1 + DRIFT * math.sin(self.phase + 2 * math.pi * now / DRIFT_MINUTES)
        if random.random() < SHARED_BURSTS:
            swing *= SHARED_BURST
        self.minutes.append(
            {
                gate: self._minute(gate, min(0.5, share * swing), parts, totals)
                for gate, share in self.release.shares.items()
            }
        )

    def _weights_of(self, minute: int) -> list[tuple[float, float]]:
        """Which part of a minute had which weight."""
        (_, before), (changed, after) = self.weights[-2:] if self.weights[1:] else self.weights * 2
        late = min(1.0, max(0.0, changed - minute))
        return [(part, weight) for part, weight in ((late, before), (1 - late, after)) if part]

    def _minute(
        self, gate: str, share: float, parts: list[tuple[float, float]], totals: tuple[int, int]
    ) -> Minute:
        on_candidate = sum(part * weight for part, weight in parts)
        mixed = (
            sum(
                part * weight * self.release.candidate_share(gate, share, weight)
                for part, weight in parts
            )
            / on_candidate
            if on_candidate
            else 0.0
        )
        return Minute(self._side(totals[0], mixed), self._side(totals[1], share))

    def _side(self, total: int, share: float) -> Side:
        bad = overdispersed(self.random, total * share, self.release.dispersion)
        return Side(min(total, bad), total)


def poisson(random: Random, mean: float) -> int:
    if mean <= 0:
        return 0
    if mean > 50:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count


def overdispersed(random: Random, mean: float, dispersion: float) -> int:
    """A count with `dispersion` times the variance of Poisson's: bad requests come in bursts."""
    if mean <= 0 or dispersion <= 1:
        return poisson(random, mean)
    scale = dispersion - 1
    return poisson(random, random.gammavariate(mean / scale, scale))
