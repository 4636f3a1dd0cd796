"""Seeded defects: does any test notice?  `python -m tests.assurance.mutants [--only GLOB] [--workers N] [--anew] [--table]`

A run may be broken off and goes on where it was: what a patch, as it stands, came to is kept in
`results.json`. Exit status 0 when all that were asked for have been judged, and each was found by a
test or says why it cannot be."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.assurance.mutants import table
from tests.assurance.mutants.patches import DoesNotApply, Patch, patches
from tests.assurance.mutants.runner import Bench, Verdict


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.assurance.mutants", description=__doc__.partition("  ")[0]
    )
    parser.add_argument(
        "--only", default="*", metavar="GLOB", help="only the patches of such a name"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="how many at the same time"
    )
    parser.add_argument(
        "--anew", action="store_true", help="also those that have been judged before"
    )
    parser.add_argument(
        "--table", action="store_true", help="judge none; write docs/mutants.md from what is known"
    )
    asked = parser.parse_args(arguments)
    results = table.of_now(table.load())
    if asked.table:
        table.PAGE.write_text(table.page(results), "utf-8")
        return 0
    chosen = [patch for patch in patches() if fnmatch(patch.name, asked.only)]
    waiting = [
        patch
        for patch in chosen
        if asked.anew or results.get(patch.name, {}).get("outcome") not in ("killed", "survived")
    ]
    say(f"{len(chosen)} patches, {len(chosen) - len(waiting)} of them judged before")
    if waiting and not judge_all(waiting, asked.workers):
        return 1
    return tell(chosen)


def judge_all(waiting: list[Patch], workers: int) -> bool:
    with TemporaryDirectory(prefix="slipway-mutants-") as folder:
        bench = Bench(Path(folder))
        killers = tuple(sorted({test for patch in waiting for test in patch.killers}))
        say(f"without any defect: {len(killers)} tests and folders that the patches name ...")
        sound = bench.without_any(killers)
        if sound.outcome != "survived":
            say(f"they do not pass, so nothing can be said: {sound.by}")
            return False
        say(f"they pass, in {sound.seconds:.0f} s")
        with ThreadPoolExecutor(workers) as pool:
            asked = {pool.submit(bench.judge, patch): patch for patch in waiting}
            for number, done in enumerate(as_completed(asked), 1):
                verdict = _verdict(done)
                table.keep(table.load(), asked[done], verdict)
                say(
                    f"{number}/{len(waiting)} {asked[done].name}: {verdict.outcome} in"
                    f" {verdict.seconds:.0f} s  {verdict.by}"
                )
    return True


def _verdict(done: Future[Verdict]) -> Verdict:
    try:
        return done.result()
    except DoesNotApply as stale:
        return Verdict("invalid", str(stale), 0.0)


def tell(chosen: Iterable[Patch]) -> int:
    results = table.of_now(table.load())
    open_ones = [
        patch
        for patch in chosen
        if results[patch.name]["outcome"] != "killed" and not patch.survives
    ]
    for patch in open_ones:
        say(f"{results[patch.name]['outcome']}: {patch.name}: {patch.what}")
    say(
        f"{table.share_killed(results):.1f} % of all patches are found by a test; docs/mutants.md"
        " has the table"
    )
    return int(bool(open_ones))


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
