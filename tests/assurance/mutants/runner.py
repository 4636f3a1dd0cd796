"""Puts one seeded defect after another into a copy of the tree and lets the tests look for it.

Called by `__main__.py`. The copy is made anew for each defect, so that nothing of one is left for
the next. First come the tests that the patch names, then, if none of them noticed, all that run
with every commit. Only a failing test counts: a run that could not be collected, whose code is no
Python, or that took too long says nothing, and neither does a test that fails without the defect
too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pathspec

from tests.assurance.mutants.patches import ROOT, Patch, patched

Outcome = Literal["killed", "survived", "invalid"]

# In the order in which they are quick to notice. Left out is what reads texts and tables and runs
# nothing: a defect must be noticed by what the code does. The stand-in's own tests (tests/local)
# never load the code that is deployed, but for the stack.
TIER = (
    *(
        "tests/rollout",
        "tests/handlers",
        "tests/infra",
        "tests/journeys",
        "tests/test_roles.py",
        "tests/test_deploy.py",
    ),
    *(
        "tests/test_cloudbuild.py",
        "tests/assurance/hostile",
        "tests/assurance/golden",
        "tests/assurance/simulation",
        "tests/emulators",
    ),
    *("tests/local/test_stack.py", "tests/local/test_demo.py"),
)
READS_ONLY = ("tests/rollout/test_spec_schema.py::test_what_is_committed_is_what_the_types_say",)
KILLERS_SECONDS, TIER_SECONDS = 900, 5400
SAYS_NOTHING = re.compile(
    r"\b(?:NameError|UnboundLocalError|ImportError|ModuleNotFoundError|SyntaxError|IndentationError): "
)


@dataclass(frozen=True)
class Verdict:
    """`by`: the test that failed; for `invalid`, why nothing can be said."""

    outcome: Outcome
    by: str
    seconds: float


class Bench:
    """A copy of the tree as it was when the run began, and copies of that one with a defect."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._sound = folder, folder / "sound"
        ignored = pathspec.GitIgnoreSpec.from_lines(
            [*(ROOT / ".gitignore").read_text().splitlines(), ".git/", "*.patch"]
        )

        def skip(here: str, names: list[str]) -> set[str]:
            inside = Path(here).relative_to(ROOT)
            return {name for name in names if ignored.match_file(_as_git_spells(inside / name))}

        shutil.copytree(ROOT, self._sound, ignore=skip)

    def without_any(self, tests: tuple[str, ...]) -> Verdict:
        """How tests fare on sound code: `survived` is what should be."""
        return pytest(self._sound, tests, TIER_SECONDS)

    def judge(self, patch: Patch) -> Verdict:
        began = time.monotonic()
        with TemporaryDirectory(dir=self._folder) as place:
            copy = Path(place) / "tree"
            shutil.copytree(self._sound, copy)
            for path, text in patched(patch, copy).items():
                path.write_text(text, "utf-8")
            verdict = pytest(copy, patch.killers, KILLERS_SECONDS)
            if verdict.outcome == "survived":
                verdict = self._by_all(copy)
        return Verdict(verdict.outcome, verdict.by, round(time.monotonic() - began, 1))

    def _by_all(self, copy: Path) -> Verdict:
        left_out = [argument for test in READS_ONLY for argument in ("--deselect", test)]
        verdict = pytest(copy, (*TIER, *left_out), TIER_SECONDS)
        if verdict.outcome == "killed" and self.without_any((verdict.by,)).outcome != "survived":
            return Verdict("invalid", f"{verdict.by} fails on sound code too", verdict.seconds)
        return verdict


def _as_git_spells(path: Path) -> str:
    return f"{path.as_posix()}/" if (ROOT / path).is_dir() else path.as_posix()


def pytest(tree: Path, tests: tuple[str, ...], seconds: int) -> Verdict:
    """The first failure of the tests in a tree. `CI=true`: what needs an emulator must have one,
    and is not skipped."""
    report = tree.parent / f"{tree.name}.xml"
    report.unlink(missing_ok=True)
    # Hypothesis needs no plugin, and loading it takes longer than most of these tests.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-p",
        "no:hypothesispytest",
    ]
    command += [f"--junitxml={report}", *tests]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "SLIPWAY_TEST_RUN")
    }
    environment |= {"CI": "true"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return Verdict("invalid", f"no end after {seconds} s", float(seconds))
    took = time.monotonic() - began
    if done.returncode == 0:
        return Verdict("survived", "", took)
    failure = _failure(report) if done.returncode == 1 else None
    return failure or Verdict(
        "invalid", f"pytest ended with {done.returncode}: {_end(done.stdout + done.stderr)}", took
    )


def _failure(report: Path) -> Verdict | None:
    """The test that failed; None where it was something else, such as a fixture, that broke."""
    for case in ElementTree.parse(report).iter("testcase"):
        for failure in case.iter("failure"):
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            told = f"{failure.get('message')}\n{failure.text}"
            if "from pytest-timeout" in told:
                return Verdict("invalid", f"{test} took too long", 0.0)
            if broken := SAYS_NOTHING.search(told):
                return Verdict("invalid", f"{test} stumbled over a {broken[0].strip(': ')}", 0.0)
            return Verdict("killed", test, 0.0)
    return None


def _end(text: str) -> str:
    return " ".join(text.split())[-300:]
