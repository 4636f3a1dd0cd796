"""Run many schedules, or files: `python -m tests.assurance.simulation [--seeds N] [--deaths]
[--zombies] ... [--minutes M] [FILE ...]`.

A schedule that fails is shrunk to the faults that it needs and written to `regressions/`, where
every test run replays it. At the end it says how many schedules and rollouts a second ran, and
which trouble struck how often."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path

from tests.assurance.simulation import plans
from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.run import Result, run
from tests.assurance.simulation.schedule import Schedule
from tests.assurance.simulation.workloads import WORKLOADS
from tests.pages import use_large_pages

REGRESSIONS = Path(__file__).parent / "regressions"
TELL_SECONDS = 60.0
SHRUNK = 10


def main() -> int:
    asked = _arguments()
    if asked.files:
        return max(_one(Path(name)) for name in asked.files)
    if asked.matrix:
        return _matrix(asked.workers)
    began, told, until = time.monotonic(), time.monotonic(), time.monotonic() + asked.minutes * 60
    ran, rollouts, failed, struck = 0, 0, list[Result](), Counter[str]()
    with Pool(asked.workers, use_large_pages) as pool:
        part, parts = asked.part
        for result in pool.imap_unordered(
            run, itertools.islice(_chosen(asked), part - 1, None, parts), chunksize=4
        ):
            ran, rollouts, struck = ran + 1, rollouts + result.rollouts, struck + result.struck
            if result.broken:
                failed.append(result)
                print(
                    f"FAILED {result.schedule.note or result.schedule}: {result.why[:400]}",
                    flush=True,
                )
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                print(
                    f"{ran} schedules, {ran / (told - began):.1f} a second, {len(failed)} failed",
                    flush=True,
                )
            if time.monotonic() > until:
                pool.terminate()
                break
    seconds = time.monotonic() - began
    speed = f"{ran / seconds:.1f} schedules, {rollouts / seconds:.1f} rollouts a second"
    print(
        f"{ran} schedules in {seconds:.0f} s with {asked.workers} workers, {speed}, {len(failed)}"
        " failed"
    )
    print("struck: " + ", ".join(f"{kind} {count}" for kind, count in sorted(struck.items())))
    for result in failed[:SHRUNK]:
        _keep(result)
    return 1 if failed else 0


def _chosen(asked: argparse.Namespace) -> Iterator[Schedule]:
    workloads = tuple(asked.workloads.split(",")) if asked.workloads else tuple(WORKLOADS)
    wanted = (
        (asked.deaths, plans.deaths),
        (asked.deaths, plans.freezes),
        (asked.zombies, plans.zombies),
    )
    if asked.doubles:
        yield from plans.double_deaths(plans.MAIN)
    for is_wanted, make in wanted:
        if is_wanted:
            yield from itertools.chain.from_iterable(make(workload) for workload in workloads)
    seeds = range(
        asked.first, asked.first + asked.seeds
    )  # last, since those are the ones of which fewer will do
    yield from (plans.of_seed(seed) for seed in seeds if plans.workload_of(seed) in workloads)


def _one(path: Path) -> int:
    result = run(schedules.read(path), is_told=True)
    print("\n".join(result.story[-80:]))
    print(result.why or "ends well")
    return 1 if result.broken else 0


def _matrix(workers: int) -> int:
    """Write down what each cell ends in now. Whoever commits it has read what changed."""
    cells = {
        (site, cell): plan for site in plans.sites() for cell, plan in plans.matrix(site).items()
    }
    with Pool(workers, use_large_pages) as pool:
        results = pool.map(run, cells.values(), chunksize=8)
    found: dict[str, dict[str, str]] = {site: {} for site in plans.sites()}
    for (site, cell), result in zip(cells, results, strict=True):
        found[site][cell] = result.why[:200] if result.broken else plans.outcome(result)
    plans.MATRIX.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(
        f"{len(cells)} cells:"
        f" {dict(Counter(outcome for cells in found.values() for outcome in cells.values()))}"
    )
    return 1 if any(result.broken for result in results) else 0


def _keep(result: Result) -> None:
    small = schedules.shrunk(result.schedule, lambda each: bool(run(each).broken))
    path = (
        REGRESSIONS
        / f"{small.workload}-{(result.schedule.note or run(small, is_told=True).trace).replace(' ', '-')}.json"
    )
    path.write_text(schedules.dump(small))
    print(f"shrunk to {len(small.faults)} faults: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m tests.assurance.simulation"
    )
    parser.add_argument("files", nargs="*", help="replay these schedules and tell their stories")
    parser.add_argument("--seeds", type=int, default=0, help="how many random schedules")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed")
    parser.add_argument(
        "--deaths",
        action="store_true",
        help="every death and freeze at every write of the workloads",
    )
    parser.add_argument(
        "--doubles", action="store_true", help="all pairs of deaths in the main workload"
    )
    parser.add_argument("--zombies", action="store_true", help="a freeze at every call, reads too")
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="write matrix.json anew: what every error at every call ends in",
    )
    parser.add_argument("--workloads", default="", help="some instead of all, parted by commas")
    parser.add_argument(
        "--part",
        type=_part,
        default=(1, 1),
        help="of all these the first, second ... of so many parts, as 2/4",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after this long")
    return parser.parse_args()


def _part(text: str) -> tuple[int, int]:
    try:
        part, parts = (int(number) for number in text.split("/"))
    except ValueError:
        part = parts = 0
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f"{text!r} is no part: --part 2/4 runs the second of four")
    return part, parts


if __name__ == "__main__":
    sys.exit(main())
