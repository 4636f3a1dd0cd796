"""Counts right and wrong verdicts on simulated fleets, and prints them as a table."""

from __future__ import annotations

from bench.results import Row, row
from tests.assurance.verdicts.judge import confusion, table

SEEDS = 1000


def measure() -> tuple[Row, ...]:
    """Releases that are healthy, and releases whose instances crash again and again within five
    minutes, while the environment takes instances.
    """
    found = confusion(SEEDS)
    print(f"\n{table(found)}\n")
    healthy, crashing = found["healthy"], found["crash-looping"]
    how = f"{SEEDS} releases with the default steps, holds and bake, on simulated fleets that lose"
    how += " instances to preemption, host errors, deletions, zone outages and quota"
    return (
        row(
            "healthy_condemned_percent",
            100 * healthy["rolling_back"] / SEEDS,
            f"healthy releases that were rolled back; {how}",
            **healthy,
        ),
        row(
            "crash_loops_succeeded",
            crashing["succeeded"],
            f"releases whose instances each end 20 to 300 s after they are ready; {how}",
            **crashing,
        ),
    )
