"""Change the pure core in thousands of small ways and see which changes the tests notice: `python -m tests.mutation`.

mutmut makes the mutants of functions in `mutants/` (never committed) and runs the tests of `tests/rollout` on each; `outside.py`
does the same with what is outside of functions. What was found is printed and written into `docs/mutation.md`. The exit status is
1 below 80 % in total, or below 75 % for the functions of a file.

With `--only 'rollout.gates*'` the named mutants alone are tried again, and with `--outside` those outside of functions alone.
Then nothing is written: that is for work on one file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from rollout.schema import inserted
from tests.mutation import outside
from tests.mutation.scores import PAGE, ROOT, Score, Unfinished, measured, missed, table, total


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.mutation", description="See docs/mutation.md.")
    parser.add_argument("--workers", type=int, default=1, help="how many mutants at a time (default 1)")
    parser.add_argument("--only", nargs="+", default=[], help="try these mutants of functions again, and write nothing")
    parser.add_argument("--outside", action="store_true", help="try those outside of functions, and write nothing")
    asked = parser.parse_args()
    if asked.outside:
        return _told(outside.tried())
    if not asked.only:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    if status := mutmut("run", "--max-children", str(asked.workers), *asked.only):
        return status
    try:
        within = measured()
    except Unfinished as unfinished:
        print(f"the score is not known: {unfinished}", file=sys.stderr)
        return 0 if asked.only else 1
    if asked.only:
        return _told(within)
    beside = outside.tried()
    publish(within, beside)
    return max(_told(within), _told(beside))


def _told(scores: list[Score]) -> int:
    print(table(scores))
    for why in missed(scores):
        print(why, file=sys.stderr)
    print(f"{total(scores).percent:.1f} % of {total(scores).total} mutants are noticed")
    return 1 if missed(scores) else 0


def publish(within: list[Score], beside: list[Score]) -> None:
    made_by = f"By mutmut {version('mutmut')}, with mypy {version('mypy')} and hypothesis {version('hypothesis')}."
    page = inserted(PAGE.read_text("utf-8"), "functions", f"{made_by}\n\n{table(within)}")
    PAGE.write_text(inserted(page, "outside", table(beside)), "utf-8")


def mutmut(*arguments: str) -> int:
    """It finds mypy on the path, which need not have this interpreter's folder on it."""
    here = Path(sys.executable).parent
    path = os.pathsep.join([str(here), os.environ.get("PATH", "")])
    return subprocess.run([here / "mutmut", *arguments], cwd=ROOT, env={**os.environ, "PATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
