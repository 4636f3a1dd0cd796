"""Rolls releases out onto simulated fleets by the real decisions, and counts the verdicts.

python -m tests.assurance.verdicts.judge --seeds 1000
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from datetime import timedelta
from random import Random

from infra.fleet.losses import explain
from rollout.advance import advance
from rollout.judging import unexplained
from rollout.model import Desired, Evidence, Release, Rollout
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import digest
from tests.assurance.verdicts.fleet import Fleet, World, moment

LONGEST = timedelta(hours=12)
KINDS = ("healthy", "crash-looping")
UNDECIDED = "undecided"


def verdict(kind: str, seed: int) -> str:
    """How the release ends: its outcome, or that it has not ended yet."""
    random = Random(f"{kind} {seed}")
    world = random_world(kind, random)
    stable, candidate = release("1", 1, world), release("2", 2, world)
    fleet = Fleet(world, random, candidate.template)
    rollout = Rollout(stable=stable, serving_group="blue")
    target = advance(
        rollout, Desired("tiny", stable, 1), fleet.observe(), Evidence(), moment(fleet)
    )
    calm = World(world.size, world.boot, world.ready)
    fleet.world = calm
    fleet.run(target.target.groups[0], 600)
    fleet.world = world
    desired = Desired("tiny", candidate, 2)
    while fleet.now < LONGEST.total_seconds():
        now, observed = moment(fleet), fleet.observe()
        lost = unexplained(rollout, observed)
        losses = explain(lost, fleet.operations, now - timedelta(minutes=10))
        decision = advance(rollout, desired, observed, Evidence(losses=losses), now)
        for transition in decision.transitions:
            if transition.to in ("succeeded", "rolling_back"):
                return transition.to
        rollout, desired = decision.rollout, decision.desired
        pause = (decision.requeue_at or now) - now
        fleet.run(decision.target.groups[0], max(5.0, pause.total_seconds()))
    return UNDECIDED


def random_world(kind: str, random: Random) -> World:
    """A world with every loss that the environment knows, each in some of the worlds."""
    size = random.choice((3, 6, 6, 12, 30))
    begin = random.uniform(700, 4000)
    outages = ((begin, begin + random.uniform(60, 3600)),) if random.random() < 0.3 else ()
    quota_at = begin + random.uniform(600, 7200)
    growth = (begin, size + random.randint(1, 4), quota_at) if random.random() < 0.2 else None
    return World(
        size=size,
        boot=random.uniform(20, 90),
        ready=random.uniform(5, 60),
        crash_after=random.uniform(20, 300) if kind == "crash-looping" else None,
        preemptions=random.choice((0.0, 0.05, 0.3)),
        host_errors=random.choice((0.0, 0.02)),
        deletions=random.choice((0.0, 0.02)),
        outages=outages,
        growth=growth,
    )


def release(version: str, generation: int, world: World) -> Release:
    """With the default steps, holds and bake."""
    sections = {
        "artifact": {"image": f"eu-docker.pkg.dev/p/r/tiny:{version}"},
        "scaling": {"min": world.size, "max": world.size + 10},
    }
    spec = resolve(ReleaseRequested(model="tiny", version=version, patch=sections), None)
    now = moment(Fleet(world, Random(0), ""))
    return Release(version, digest(spec), f"tiny-{version}", spec, generation, now, version)


def confusion(seeds: int, first: int = 0) -> dict[str, Counter[str]]:
    """The verdicts on releases of each kind."""
    return {
        kind: Counter(verdict(kind, seed) for seed in range(first, first + seeds)) for kind in KINDS
    }


def table(found: dict[str, Counter[str]]) -> str:
    columns = ("succeeded", "rolling_back", UNDECIDED)
    heads = ("released", "succeeded", "rolled back", "undecided")
    lines = ["".join(f"{head:>14}" for head in heads)]
    for kind, counts in found.items():
        numbers = "".join(f"{counts[column]:>14}" for column in columns)
        lines.append(f"{kind:>14}{numbers}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Counts right and wrong verdicts.")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    print(table(confusion(options.seeds, options.first)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
