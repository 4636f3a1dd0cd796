"""Run many schedules, or one file: `python -m tests.simulation [--seeds N] [--minutes M] [--points] [FILE ...]`.

A schedule that fails is shrunk to the faults that it needs and written to `regressions/`, where every test run replays it. At the
end it says how many schedules a second ran, and which trouble struck how often.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path

from tests.simulation import schedule as schedules
from tests.simulation.run import Result, reference, run
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.workloads import WORKLOADS

REGRESSIONS = Path(__file__).parent / "regressions"
DEATHS = ("crash_before", "crash_after", "lost_reply", "no_effect")
FROZEN_SECONDS = 200.0


def random_schedules(first: int, count: int) -> Iterator[Schedule]:
    names = tuple(WORKLOADS)
    calls = {name: reference(name).calls for name in names}
    return (schedules.drawn(seed, names, calls) for seed in range(first, first + count))


def crash_points(workloads: tuple[str, ...]) -> Iterator[Schedule]:
    """Every kind of death and freeze at every external write of every workload."""
    for workload in workloads:
        for point in reference(workload).points:
            at = int(point.split()[0])
            yield from (Schedule(workload, (Fault(kind, at),)) for kind in DEATHS)
            yield from (
                Schedule(workload, (Fault(kind, at, seconds=FROZEN_SECONDS),)) for kind in ("pause_before", "pause_after")
            )


def double_crashes(workload: str) -> Iterator[Schedule]:
    points = [int(point.split()[0]) for point in reference(workload).points]
    for first, second in itertools.combinations(points, 2):
        yield Schedule(workload, (Fault("crash_after", first), Fault("crash_before", second)))


def zombies(workload: str) -> Iterator[Schedule]:
    """A worker that stands still at any call, a read too, until its claim has expired; others work meanwhile."""
    for at, seconds in itertools.product(range(1, reference(workload).calls), (70.0, 130.0, 400.0)):
        yield Schedule(workload, (Fault("pause_before", at, "*.*", seconds=seconds),))


def main() -> int:
    asked = _arguments()
    if asked.files:
        return max(_one(Path(name)) for name in asked.files)
    chosen = tuple(asked.workloads.split(",")) if asked.workloads else tuple(WORKLOADS)
    parts: list[Iterator[Schedule]] = [random_schedules(asked.first, asked.seeds)]
    parts += [crash_points(chosen)] if asked.points else []
    parts += [double_crashes("swap")] if asked.doubles else []
    parts += [zombies(name) for name in chosen] if asked.zombies else []
    began, until = time.monotonic(), time.monotonic() + asked.minutes * 60
    ran, failed, struck = 0, list[Result](), Counter[str]()
    with Pool(asked.workers) as pool:
        for result in pool.imap_unordered(run, itertools.chain(*parts), chunksize=4):
            ran, struck = ran + 1, struck + result.struck
            if result.broken:
                failed.append(result)
                print(f"FAILED {result.schedule.note or result.schedule}: {result.why[:400]}", flush=True)
            if time.monotonic() > until:
                pool.terminate()
                break
    seconds = time.monotonic() - began
    print(f"{ran} schedules in {seconds:.0f} s, {ran / seconds:.1f} a second, {len(failed)} failed")
    print("struck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(struck.items())))
    for result in failed[:10]:
        _keep(result)
    return 1 if failed else 0


def _one(path: Path) -> int:
    result = run(schedules.read(path))
    print("\n".join(result.story[-80:]))
    print(result.why or "ends well")
    return 1 if result.broken else 0


def _keep(result: Result) -> None:
    small = schedules.shrunk(result.schedule, lambda each: bool(run(each).broken))
    path = REGRESSIONS / f"{small.workload}-{(result.schedule.note or run(small).trace).replace(' ', '-')}.json"
    path.write_text(schedules.dump(small))
    print(f"shrunk to {len(small.faults)} faults: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.simulation")
    parser.add_argument("files", nargs="*", help="replay these schedules and tell their stories")
    parser.add_argument("--seeds", type=int, default=0, help="how many random schedules")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed")
    parser.add_argument("--points", action="store_true", help="every death and freeze at every write of the workloads")
    parser.add_argument("--doubles", action="store_true", help="all pairs of deaths in the main workload")
    parser.add_argument("--zombies", action="store_true", help="a freeze at every call, reads too")
    parser.add_argument("--workloads", default="", help="some instead of all, parted by commas")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after this long")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
