"""Tests the tests with seeded defects: `python -m tests.assurance.mutants [--only GLOB ...]
[--workers N] [--all] [--table]`.

An interrupted run continues where it stopped: the result of each patch is kept in `results.json`
until the patch changes. The exit status is 0 if every selected patch has been evaluated and was
either found by a test or says why no test can find it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.assurance.mutants import results
from tests.assurance.mutants.patches import DoesNotApply, Patch, load_patches
from tests.assurance.mutants.runner import Evaluator, Verdict


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.assurance.mutants",
        description="Tests the tests with seeded defects. See tests/assurance/mutants/README.md.",
    )
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="GLOB", help="only patches of these names"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="how many patches to run in parallel"
    )
    parser.add_argument(
        "--all", action="store_true", help="also run patches that have a current result"
    )
    parser.add_argument(
        "--named", action="store_true", help="run only the tests that a patch names"
    )
    parser.add_argument(
        "--table", action="store_true", help="run nothing; write docs/mutants.md from results.json"
    )
    options = parser.parse_args(arguments)
    current = results.select_current(results.load())
    if options.table:
        results.PAGE.write_text(results.render_page(current), "utf-8")
        return 0
    selected = [
        patch for patch in load_patches() if any(fnmatch(patch.name, each) for each in options.only)
    ]
    pending = [
        patch
        for patch in selected
        if options.all or current.get(patch.name, {}).get("outcome") not in ("killed", "survived")
    ]
    log(f"{len(selected)} patches, {len(selected) - len(pending)} of them have a current result")
    if pending and not evaluate_all(pending, options.workers, named_only=options.named):
        return 1
    return report(selected)


def evaluate_all(pending: list[Patch], workers: int, *, named_only: bool = False) -> bool:
    """Evaluates the patches. False if the named tests fail on the unchanged code."""
    with TemporaryDirectory(prefix="slipway-mutants-") as folder:
        evaluator = Evaluator(Path(folder), named_only=named_only)
        killers = tuple(sorted({test for patch in pending for test in patch.killers}))
        log(f"running the {len(killers)} named tests and folders on the unchanged code ...")
        baseline = evaluator.run_unchanged(killers)
        if baseline.outcome != "survived":
            log(f"they fail, so no patch can be evaluated: {baseline.by}")
            return False
        log(f"they pass, in {baseline.seconds:.0f} s")
        with ThreadPoolExecutor(workers) as pool:
            submitted = {pool.submit(evaluator.evaluate, patch): patch for patch in pending}
            for number, done in enumerate(as_completed(submitted), 1):
                verdict = _verdict(done)
                results.save(results.load(), submitted[done], verdict)
                log(
                    f"{number}/{len(pending)} {submitted[done].name}: {verdict.outcome} in"
                    f" {verdict.seconds:.0f} s  {verdict.by}"
                )
    return True


def _verdict(done: Future[Verdict]) -> Verdict:
    try:
        return done.result()
    except DoesNotApply as error:
        return Verdict("invalid", str(error), 0.0)


def report(selected: Iterable[Patch]) -> int:
    """Prints the patches that no test found and that do not explain why; 1 if there are any."""
    current = results.select_current(results.load())
    missed = [
        patch
        for patch in selected
        if current[patch.name]["outcome"] != "killed" and not patch.survives
    ]
    for patch in missed:
        log(f"{current[patch.name]['outcome']}: {patch.name}: {patch.mistake}")
    log(f"{results.percent_killed(current):.1f} % of all patches are found; see docs/mutants.md")
    return int(bool(missed))


def log(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
