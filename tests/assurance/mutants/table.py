"""What came of the seeded defects: kept in `results.json`, told in `docs/mutants.md`.

Written by `__main__.py` after each defect; `test_patches.py` holds both to the patches. Pure, but
for the two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.assurance.mutants.patches import FOLDER, ROOT, Patch, patches
from tests.assurance.mutants.runner import Verdict

RESULTS, PAGE = FOLDER / "results.json", ROOT / "docs/mutants.md"
Results = dict[str, dict[str, Any]]

_PAGE = """# Would the tests notice?

<!-- made by `python -m tests.assurance.mutants`; change the patches, not this -->

Each patch in [tests/assurance/mutants](../tests/mutants) puts one mistake that somebody could make into the code that is deployed, and
breaks a promise of [promises.md](promises.md). `make mutants` puts them one at a time into a copy of the tree and runs first the
tests that the patch names, then all that run with every commit, but for those that only read texts and tables or try the stand-in
alone. A mistake counts as found only by a test that fails with it and passes without it. What cannot be imported, or takes too
long, counts as nothing. They are mistakes of design, chosen by people who know the promises; `make mutation` changes the pure
core line by line instead.

**{killed} of {all} were found ({share:.1f} %).** {rest}

| mistake | promise | what is wrong | found by | s |
|---|---|---|---|---|
{rows}

The seconds are those of one run, from the copy to the failure, on a machine that had other work. Each row is of the patch as it
stands, and each patch fits the code; `make test` holds them to that. Whether a test has grown blind since, only a new run shows:
`make mutants MUTANTS_ARGS=--anew`.
"""


def load() -> Results:
    found: Results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    return found


def of_now(results: Results) -> Results:
    """The results that are of the patches as they stand."""
    digests = {patch.name: patch.digest for patch in patches()}
    return {
        name: result for name, result in results.items() if digests.get(name) == result["digest"]
    }


def keep(results: Results, patch: Patch, verdict: Verdict) -> Results:
    new = {
        "digest": patch.digest,
        "outcome": verdict.outcome,
        "by": verdict.by,
        "seconds": verdict.seconds,
    }
    kept = dict(sorted((of_now(results) | {patch.name: new}).items()))
    _write(RESULTS, json.dumps(kept, indent=1) + "\n")
    _write(PAGE, page(kept))
    return kept


def share_killed(results: Results) -> float:
    """In percent of all patches: one without a result counts as not killed."""
    known, found = patches(), of_now(results)
    return (
        100 * sum(each["outcome"] == "killed" for each in found.values()) / len(known)
        if known
        else 0.0
    )


def page(results: Results) -> str:
    known, found = patches(), of_now(results)
    killed = sum(each["outcome"] == "killed" for each in found.values())
    rows = "\n".join(_row(patch, found.get(patch.name)) for patch in known)
    return _PAGE.format(
        killed=killed,
        all=len(known),
        share=share_killed(results),
        rest=_rest(known, found),
        rows=rows,
    )


def _rest(known: tuple[Patch, ...], found: Results) -> str:
    left = [patch for patch in known if found.get(patch.name, {}).get("outcome") != "killed"]
    if not left:
        return "None was left over."
    told = [
        f"- `{patch.name}`:"
        f" {patch.survives or found.get(patch.name, {}).get('by') or 'not explained yet'}"
        for patch in left
    ]
    return "The others:\n\n" + "\n".join(told)


def _row(patch: Patch, result: dict[str, Any] | None) -> str:
    linked = f"[{patch.name}](../tests/mutants/{patch.name}.patch)"
    by, seconds = (_found_by(result), f"{result['seconds']:.0f}") if result else ("", "")
    return (
        "| "
        + " | ".join(
            cell.replace("|", "\\|") for cell in (linked, patch.breaks, patch.what, by, seconds)
        )
        + " |"
    )


def _found_by(result: dict[str, Any]) -> str:
    if result["outcome"] == "killed":
        return f"`{_plain(result['by'])}`"
    return "no test" if result["outcome"] == "survived" else "nothing can be said"


def _plain(test: str) -> str:
    """Without the parameters, which may be long and strange."""
    return test.partition("[")[0]


def _write(path: Path, text: str) -> None:
    """Whole or not at all, so that a run can be broken off at any time."""
    beside = path.with_suffix(".new")
    beside.write_text(text, "utf-8")
    beside.replace(path)
