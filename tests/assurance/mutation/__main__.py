"""Change the pure core in thousands of small ways and see which changes the tests notice: `python
-m tests.assurance.mutation`.

mutmut makes the mutants of functions, and the tests of `tests/rollout` are asked about each
(`inside.py`). What was found is printed and written into `docs/mutation.md`; what survived is
named. The exit status is 1 below 80 % in total, or below 75 % for a file. A run that was broken off
goes on with `--go-on`, as long as neither the code nor its tests have changed. With `--only
'rollout.gates.health*'` the named mutants alone are tried again, for work on one file, and with
`--outside` what mutmut leaves alone is changed instead (`outside.py`). Then nothing is written."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from importlib.metadata import version

from schemas.generate import inserted
from tests.assurance.mutation import inside, outside
from tests.assurance.mutation.scores import (
    MUTANTS,
    NO_TEST,
    NOT_TRIED,
    PAGE,
    RESULTS,
    Score,
    measured,
    missed,
    table,
    total,
)


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.assurance.mutation", description="See docs/mutation.md."
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        help="try these mutants of functions again, and write nothing",
    )
    parser.add_argument(
        "--sample", type=int, default=10**9, help="try so many, by chance, and not all of them"
    )
    parser.add_argument(
        "--outside", action="store_true", help="try those outside of functions, and write nothing"
    )
    parser.add_argument(
        "--go-on",
        action="store_true",
        help="try those that an earlier run did not come to, and write all down",
    )
    asked = parser.parse_args()
    if asked.outside:
        return _told(outside.tried())
    if asked.go_on and not inside.is_of_now():
        print(
            "no earlier run was of this code and these tests; run it anew, without --go-on",
            file=sys.stderr,
        )
        return 2
    within = _functions(asked.only, asked.sample, asked.go_on)
    if asked.only:
        return _told(within)
    publish(within)
    return _told(within)


def _functions(only: list[str], most: int, is_continued: bool) -> list[Score]:
    """Everything anew, or the named ones, or those that are left, among the results of an earlier
    run. Survivors are named as `mutmut show` knows them."""
    if not (only or is_continued):
        shutil.rmtree(MUTANTS, ignore_errors=True)
    refused = inside.make()
    if not only:
        inside.mark()
    before = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(
        json.dumps({key: refused.get(key, before.get(key)) for key in inside.every()}), "utf-8"
    )
    left = [key for key in inside.every() if before.get(key) is NOT_TRIED and key not in refused]
    inside.tried(left if is_continued else only or ["*"], most)
    for key, end in json.loads(RESULTS.read_text("utf-8")).items():
        if end in (0, NO_TEST):
            print(f"survived: {key}; see mutmut show {key}")
    return measured()


def _told(scores: list[Score]) -> int:
    print(table(scores))
    for why in missed(scores):
        print(why, file=sys.stderr)
    print(f"{total(scores).percent:.1f} % of {total(scores).total} mutants are noticed")
    return 1 if missed(scores) else 0


def publish(scores: list[Score]) -> None:
    made_by = (
        f"By mutmut {version('mutmut')}, with mypy {version('mypy')} and hypothesis"
        f" {version('hypothesis')}."
    )
    PAGE.write_text(
        inserted(PAGE.read_text("utf-8"), "functions", f"{made_by}\n\n{table(scores)}"), "utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
