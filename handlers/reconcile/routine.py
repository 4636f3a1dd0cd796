"""Routine passes: those of models that bake, are watched or await somebody, in which nothing is
expected to happen.

A project has so many reads a minute, and a release that is rolled out needs them more. So the tick
counts the models that are due soon. While there are few, nothing of this applies. While there are
many, routine passes share what 70 % of the reads allow, and are as far apart as follows from it;
and four of five over a healthy release that bakes read nothing but its health.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from infra.fleet.model import ReadSet, Snapshot
from infra.fleet.reads import light_reads, scope_of, usual_backends
from infra.store.port import Document, Put
from infra.wiring import World
from rollout.model import Baking
from rollout.requeue import LONGEST, interval
from rollout.state import ModelState, is_verified

DUE = "ticks/due"
SOON = timedelta(minutes=10)
SHARE = 0.7
READS = 1.75
"""Of a routine pass, on average."""
WHOLE_EVERY = 5


def passes_per_minute(world: World) -> int:
    """How many routine passes the project's reads allow."""
    return max(1, int(world.reads_per_minute * SHARE / READS))


def count_due(world: World) -> None:
    """Record how many models are due soon, if that has changed by a tenth. So few that they could
    all have a pass every 15 s count as none.
    """
    found = world.store.count_due(world.clock.now() + SOON)
    found = found if timedelta(minutes=found / passes_per_minute(world)) > LONGEST else 0
    before = _counted(world.store.get(DUE))
    if abs(found - before) > before / 10:
        world.store.commit(Put(DUE, {"models": found}))


def least_interval(world: World, documents: Mapping[str, Document]) -> timedelta:
    """How far routine passes over a model are apart at least. Zero while there are few models."""
    return timedelta(minutes=_counted(documents.get(DUE)) / passes_per_minute(world))


def _counted(document: Document | None) -> int:
    """0 also for what no tick has stored, which would stop the passes of all models."""
    models = document.data.get("models") if document else None
    return models if isinstance(models, int) and models > 0 else 0


def is_as_healthy(world: World, state: ModelState, least: timedelta) -> bool:
    """Whether as many instances of a release that bakes are healthy as the last pass counted, and
    none is not. That is all that a routine pass reads while there are many, four times of five. It
    answers no when the bake may end, and when anything is out of the ordinary. Raises as `observe`.
    """
    rollout, now = state.rollout, world.clock.now()
    phase, candidate, counts = rollout.phase, rollout.candidate, state.counts
    if not isinstance(phase, Baking) or candidate is None or counts is None:
        return False
    usual = interval(rollout, now) or timedelta(0)
    until = phase.since + timedelta(seconds=candidate.spec.rollout.bake_seconds)
    is_expected = state.is_routine and is_verified(state, now, least) and not state.conditions
    is_due = state.wakeups % WHOLE_EVERY == 0 or now + least >= until
    if least <= usual or is_due or not is_expected or rollout.gates:
        return False
    scope = scope_of(rollout, state.desired)
    reads = ReadSet((), healths=light_reads(scope).healths)
    found = world.compute.observe(reads, Snapshot(usual_backends(world.compute.project, scope)))
    answers = [answer for answers in found.health.values() for answer in answers]
    states = [each["healthState"] for answer in answers for each in answer.get("healthStatus", ())]
    expected = sum(each.all for each in counts.releases)
    return set(states) == {"HEALTHY"} and len(states) == expected
