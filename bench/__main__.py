"""`python -m bench`: measures everything in about half an hour, prints a table, writes
`bench/results.json` and the table in `docs/bench.md`.

With `--only` some parts are measured and shown, and nothing is written; with `--write` too, their
rows take the place of the old ones and the others stay. The exit status is 1 when a target was
missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench import (
    by_gcloud,
    cold_start,
    command_line,
    emulator,
    facts,
    memory,
    page,
    provision,
    results,
    rollouts,
    verdicts,
    virtual,
)
from bench.gates import measure as gates
from bench.results import Row
from bench.scale import caps, gateways, scan
from bench.scale import measure as scale
from bench.setting import Setting, setting

IN_SETTING: dict[str, Callable[[Setting, int], tuple[Row, ...]]] = {
    "cold-start": cold_start.measure,
    "memory": lambda where, runs: (memory.measure(where),),
    "provision": lambda where, runs: (provision.measure(where, 3),),
    "virtual": lambda where, runs: (
        *(virtual.swap(), virtual.function_calls()),
        *(*virtual.settled(), *virtual.routes()),
    ),
}
ALONE: dict[str, Callable[[], tuple[Row, ...]]] = {
    "verdicts": verdicts.measure,
    "gates": gates.measure,
    "rollouts": rollouts.measure,
    "gcloud": by_gcloud.measure,
    "command-line": command_line.measure,
    "scale": lambda: (
        *(*scale.measure(), *scan.measure()),
        *(*caps.measure(), *gateways.measure()),
    ),
    "emulator": emulator.measure,
}
"""Parts that do not use a `Setting`."""

PARTS = (*IN_SETTING, *ALONE)


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m bench", description="Measures Slipway's speed and size; see docs/bench.md."
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="measure these parts and write nothing"
    )
    parser.add_argument(
        "--write", action="store_true", help="with --only: replace the old results of these parts"
    )
    parser.add_argument(
        "--pairs", type=int, default=30, help="how many pairs of cold starts (default 30)"
    )
    options = parser.parse_args()
    logging.getLogger("slipway").setLevel(logging.ERROR)
    known = facts.facts()
    rows = list(_measured(options.only or list(PARTS), options.pairs))
    results.show(rows, known)
    if options.write or not options.only:
        kept = json.loads(results.FILE.read_text("utf-8")) if options.only else {}
        text = results.merged(kept, rows, known) if options.only else results.to_text(rows, known)
        results.FILE.write_text(text, "utf-8")
        page.main([])
        print(f"written to {results.FILE}, and from there to docs/bench.md")
    return int(any(row.met is False for row in rows))


def _measured(parts: list[str], pairs: int) -> Iterator[Row]:
    with ExitStack() as stack:
        where = stack.enter_context(setting()) if set(parts) & set(IN_SETTING) else None
        for name in parts:
            began = time.monotonic()
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            rows = (
                IN_SETTING[name](where, pairs)
                if where is not None and name in IN_SETTING
                else ALONE[name]()
            )
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            yield from rows


if __name__ == "__main__":
    sys.exit(main())
