"""Runs many schedules, or replays files: `python -m tests.assurance.simulation [--seeds N]
[--crashes] [--stalls] ... [--minutes M] [FILE ...]`.

A failing schedule is shrunk to the faults that it needs and written to `regressions/`, where every
test run replays it. The last lines give schedules and rollouts per second, and how often each fault
was injected.
"""

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

from tests.assurance.simulation import generators
from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.run import Result, run
from tests.assurance.simulation.schedule import Schedule
from tests.assurance.simulation.workloads import WORKLOADS
from tests.pages import use_large_pages

REGRESSIONS = Path(__file__).parent / "regressions"
PROGRESS_SECONDS = 60.0
MAX_SHRINKS = 10


def main() -> int:
    options = _arguments()
    if options.files:
        return max(_replay(Path(name)) for name in options.files)
    if options.matrix:
        return _write_matrix(options.workers)
    began, reported, until = (
        time.monotonic(),
        time.monotonic(),
        time.monotonic() + options.minutes * 60,
    )
    ran, rollouts, failed, injected = 0, 0, list[Result](), Counter[str]()
    with Pool(options.workers, use_large_pages) as pool:
        part, parts = options.part
        for result in pool.imap_unordered(
            run, itertools.islice(_select(options), part - 1, None, parts), chunksize=4
        ):
            ran, rollouts, injected = (
                ran + 1,
                rollouts + result.rollouts,
                injected + result.injected,
            )
            if result.violations:
                failed.append(result)
                print(
                    f"FAILED {result.schedule.note or result.schedule}: {result.why[:400]}",
                    flush=True,
                )
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                print(
                    f"{ran} schedules, {ran / (reported - began):.1f} per second,"
                    f" {len(failed)} failed",
                    flush=True,
                )
            if time.monotonic() > until:
                pool.terminate()
                break
    seconds = time.monotonic() - began
    speed = f"{ran / seconds:.1f} schedules, {rollouts / seconds:.1f} rollouts per second"
    print(
        f"{ran} schedules in {seconds:.0f} s with {options.workers} workers, {speed}, {len(failed)}"
        " failed"
    )
    print("injected: " + ", ".join(f"{kind} {count}" for kind, count in sorted(injected.items())))
    for result in failed[:MAX_SHRINKS]:
        _shrink_and_save(result)
    return 1 if failed else 0


def _select(options: argparse.Namespace) -> Iterator[Schedule]:
    workloads = tuple(options.workloads.split(",")) if options.workloads else tuple(WORKLOADS)
    families = (
        (options.crashes, generators.crashes),
        (options.crashes, generators.write_stalls),
        (options.stalls, generators.call_stalls),
    )
    if options.double_crashes:
        for workload in generators.DOUBLE:
            if workload in workloads:
                yield from generators.double_crashes(workload)
    if options.crashes:
        for workload in generators.GATED:
            if workload in workloads:
                yield from generators.lies(workload)
    for is_selected, generate in families:
        if is_selected:
            yield from itertools.chain.from_iterable(generate(workload) for workload in workloads)
    # Random schedules come last: if time runs out, fewer of them are the smallest loss.
    seeds = range(options.first, options.first + options.seeds)
    yield from (
        generators.from_seed(seed) for seed in seeds if generators.workload_of(seed) in workloads
    )


def _replay(path: Path) -> int:
    result = run(schedules.read(path), with_trace=True)
    print("\n".join(result.trace[-80:]))
    print(result.why or "passes")
    return 1 if result.violations else 0


def _write_matrix(workers: int) -> int:
    """Rewrites `matrix.json` with the present outcomes. Read the difference before committing."""
    cells = {
        (site, cell): plan
        for site in generators.sites()
        for cell, plan in generators.matrix(site).items()
    }
    with Pool(workers, use_large_pages) as pool:
        results = pool.map(run, cells.values(), chunksize=8)
    found: dict[str, dict[str, str]] = {site: {} for site in generators.sites()}
    for (site, cell), result in zip(cells, results, strict=True):
        found[site][cell] = result.why[:200] if result.violations else generators.outcome(result)
    generators.MATRIX.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(
        f"{len(cells)} cells:"
        f" {dict(Counter(outcome for cells in found.values() for outcome in cells.values()))}"
    )
    return 1 if any(result.violations for result in results) else 0


def _shrink_and_save(result: Result) -> None:
    small = schedules.shrink(result.schedule, lambda each: bool(run(each).violations))
    label = result.schedule.note or run(small, with_trace=True).trace_digest
    path = REGRESSIONS / f"{small.workload}-{label.replace(' ', '-')}.json"
    path.write_text(schedules.dump(small))
    print(f"shrunk to {len(small.faults)} faults: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m tests.assurance.simulation"
    )
    parser.add_argument("files", nargs="*", help="replay these schedules and print their traces")
    parser.add_argument("--seeds", type=int, default=0, help="how many random schedules")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed")
    parser.add_argument(
        "--crashes",
        action="store_true",
        help="every crash and stall at every write of the workloads",
    )
    parser.add_argument(
        "--double-crashes",
        action="store_true",
        help="all pairs of crashes in the main workload and in that of a canary",
    )
    parser.add_argument(
        "--stalls", action="store_true", help="a stall at every call, including reads"
    )
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="rewrite matrix.json, the outcome of every error at every call",
    )
    parser.add_argument("--workloads", default="", help="comma-separated; all by default")
    parser.add_argument(
        "--part",
        type=_part,
        default=(1, 1),
        help="run one part of the schedules: 2/4 is the second of four",
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
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a part: --part 2/4 runs the second of four"
        )
    return part, parts


if __name__ == "__main__":
    sys.exit(main())
