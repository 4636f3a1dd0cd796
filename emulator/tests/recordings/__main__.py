"""Compares the emulator with recorded exchanges of the real service, and prints the figures.

`make recordings`, or with options: `make recordings RECORDINGS_ARGS="--verbose --only urlmap"`.
The recordings are not part of this repository.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

from emulator.tests.recordings.compare import Difference
from emulator.tests.recordings.replay import Row, replay

DATA = Path("../shared/recordings")
FILES = ("recordings.json", "described.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make recordings", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="the folder")
    parser.add_argument("--only", default="", help="a regular expression on the ids of the logs")
    parser.add_argument(
        "--verbose", action="store_true", help="list each difference, how often, and where"
    )
    options = parser.parse_args()
    files = [file for name in FILES if (file := options.data / name).exists()]
    if not files:
        print(f"No recordings in {options.data}, so there is nothing to compare.")
        return
    logs = [log for file in files for log in json.loads(file.read_text())]
    rows = [row for log in logs if re.search(options.only, log["id"]) for row in replay(log)]
    if options.verbose:
        _print_differences(rows)
    _print_figures(rows)


def _print_figures(rows: list[Row]) -> None:
    compared: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.is_compared:
            compared[row.collection].append(row)
    for collection, members in sorted(compared.items()):
        print(f"{collection:24} {_figure(members)}")
    print(f"{'all':24} {_figure([row for row in rows if row.is_compared])}")
    skipped = Counter(row.skipped for row in rows if row.skipped)
    print(f"not compared: {', '.join(f'{count} {why}' for why, count in skipped.most_common())}")


def _figure(rows: list[Row]) -> str:
    same = sum(not row.differences for row in rows)
    return f"{same:4} of {len(rows):4} the same ({100 * same / max(1, len(rows)):.1f} %)"


def _print_differences(rows: list[Row]) -> None:
    found: dict[tuple[str, str, str], list[tuple[Row, Difference]]] = defaultdict(list)
    for row in rows:
        for each in row.differences:
            found[row.collection, each.kind, re.sub(r"\[\d+\]", "[]", each.path)].append(
                (row, each)
            )
    for (collection, kind, path), entries in sorted(found.items()):
        print(f"{collection}: {kind} {path}, {len(entries)} times")
        _, first = entries[0]
        print(f"    recorded {json.dumps(first.recorded)[:150]}")
        print(f"    answered {json.dumps(first.answered)[:150]}")
        print(f"    {', '.join(sorted({f'{row.log}#{row.number}' for row, _ in entries}))}")


if __name__ == "__main__":
    main()
