"""`python -m bench`: measures everything in about six minutes, shows a table, writes `bench/results.json` and README's table.

With `--only` a part is measured and shown, and nothing is written. The exit status is 1 when a target was missed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator

from bench import by_gcloud, cold_start, facts, memory, provision, readme, results, virtual
from bench.results import Row
from bench.setting import Setting, setting

PARTS: dict[str, Callable[[Setting, int], tuple[Row, ...]]] = {
    "cold-start": cold_start.measure,
    "memory": lambda where, runs: (memory.measure(where),),
    "provision": lambda where, runs: (provision.measure(where, 3),),
    "virtual": lambda where, runs: (virtual.swap(), *virtual.settled()),
    "gcloud": lambda where, runs: by_gcloud.measure(),
}


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench", description="Measures Slipway's speed and size; see docs/bench.md.")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts, and write nothing")
    parser.add_argument("--pairs", type=int, default=9, help="how many pairs of cold starts (default 9)")
    options = parser.parse_args()
    logging.getLogger("slipway").setLevel(logging.ERROR)
    known = facts.facts()
    rows = list(_measured(options.only or list(PARTS), options.pairs))
    results.show(rows, known)
    if not options.only:
        results.FILE.write_text(results.written(rows, known), "utf-8")
        readme.main([])
        print(f"written to {results.FILE}, and from there into README.md")
    return int(any(row.met is False for row in rows))


def _measured(parts: list[str], pairs: int) -> Iterator[Row]:
    with setting() as where:
        for name in parts:
            began = time.monotonic()
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            rows = PARTS[name](where, pairs)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            yield from rows


if __name__ == "__main__":
    sys.exit(main())
