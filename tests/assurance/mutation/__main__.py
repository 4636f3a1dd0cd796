"""Changes the pure core in thousands of small ways and counts the changes that the tests find:
`python -m tests.assurance.mutation`.

mutmut generates the mutants of functions, and the tests of `tests/rollout` run on each
(`functions.py`). The scores are printed and written into `docs/mutation.md`, and survivors are
named. The exit status is 1 below 80 % in total, or below 75 % for a file. `--continue` completes an
interrupted run as long as neither the code nor its tests have changed. `--only
'rollout.gates.health*'` runs only the named mutants again, and `--module-level` changes what mutmut
leaves alone (`module_level.py`); these two write nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from importlib.metadata import version

from schemas.generate import replace_marked
from tests.assurance.mutation import functions, module_level
from tests.assurance.mutation.scores import (
    MUTANTS,
    NO_TEST,
    NOT_RUN,
    PAGE,
    RESULTS,
    Score,
    failures,
    measure,
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
        help="run only these mutants of functions, and write nothing",
    )
    parser.add_argument(
        "--sample", type=int, default=10**9, help="run a random sample of this size"
    )
    parser.add_argument(
        "--module-level",
        action="store_true",
        help="run the mutants outside functions, and write nothing",
    )
    parser.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="run the mutants that an interrupted run has left",
    )
    options = parser.parse_args()
    if options.module_level:
        return _report(module_level.run_all())
    if options.resume and not functions.is_current():
        print(
            "no earlier run matches this code and these tests; run without --continue",
            file=sys.stderr,
        )
        return 2
    scores = _run_functions(options.only, options.sample, options.resume)
    if options.only:
        return _report(scores)
    publish(scores)
    return _report(scores)


def _run_functions(only: list[str], limit: int, resume: bool) -> list[Score]:
    """Runs all mutants, or the named ones, or those that an earlier run has left. Names the
    survivors as `mutmut show` does.
    """
    if not (only or resume):
        shutil.rmtree(MUTANTS, ignore_errors=True)
    rejected = functions.generate_all()
    if not only:
        functions.save_digest()
    before = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    mutants = functions.list_mutants()
    RESULTS.write_text(
        json.dumps({key: rejected.get(key, before.get(key)) for key in mutants}), "utf-8"
    )
    left = [key for key in mutants if before.get(key) is NOT_RUN and key not in rejected]
    functions.run_mutants(left if resume else only or ["*"], limit)
    for key, end in json.loads(RESULTS.read_text("utf-8")).items():
        if end in (0, NO_TEST):
            print(f"survived: {key}; see mutmut show {key}")
    return measure()


def _report(scores: list[Score]) -> int:
    print(table(scores))
    for why in failures(scores):
        print(why, file=sys.stderr)
    print(f"{total(scores).percent:.1f} % of {total(scores).total} mutants are found")
    return 1 if failures(scores) else 0


def publish(scores: list[Score]) -> None:
    made_by = (
        f"By mutmut {version('mutmut')}, with mypy {version('mypy')} and hypothesis"
        f" {version('hypothesis')}."
    )
    PAGE.write_text(
        replace_marked(PAGE.read_text("utf-8"), "functions", f"{made_by}\n\n{table(scores)}"),
        "utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
