"""Applies one seeded defect after another to a copy of the tree and runs the tests on it.

`__main__.py` calls this. Each patch gets a fresh copy. The tests that the patch names run first;
if they all pass, all tests of every commit run. Only a failing test counts as finding a patch. A
run that cannot collect its tests, code that does not parse, and a test that times out prove
nothing; neither does a test that fails without the patch too.
"""

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

from tests.assurance.mutants.patches import ROOT, Patch, apply_patch

Outcome = Literal["killed", "survived", "invalid"]

# The quickest first. Tests that only read texts and tables are left out: a defect must be found by
# what the code does. So are the emulator's own tests, which never load the deployed code.
TESTS = (
    "tests/rollout",
    "tests/handlers",
    "tests/infra",
    "tests/journeys",
    "tests/console/test_dashboard.py",
    "tests/console/test_iap.py",
    "tests/test_roles.py",
    "tests/test_deploy.py",
    "tests/test_cloudbuild.py",
    "tests/assurance/hostile",
    "tests/assurance/golden",
    "tests/assurance/simulation",
    "tests/emulators",
    "tests/local/test_stack.py",
    "tests/local/test_demo.py",
)
READ_ONLY_TESTS = (
    "tests/rollout/test_spec_schema.py::test_what_is_committed_is_what_the_types_say",
)
KILLERS_SECONDS, TESTS_SECONDS = 900, 5400
# Errors of a patch that is broken itself.
BROKEN_CODE = re.compile(
    r"\b(?:(?:Name|UnboundLocal|Import|ModuleNotFound|Syntax|Indentation)Error): "
)


@dataclass(frozen=True)
class Verdict:
    """`by`: the test that failed; for `invalid`, the reason why the run proves nothing."""

    outcome: Outcome
    by: str
    seconds: float


class Evaluator:
    """Keeps an unchanged copy of the tree, and makes a patched copy of it for each defect.

    With `named_only` a patch that survives the tests that it names is not run against the others;
    that proves nothing about them.
    """

    def __init__(self, folder: Path, *, named_only: bool = False) -> None:
        self._named_only = named_only
        self._folder, self._unchanged = folder, folder / "unchanged"
        ignored = pathspec.GitIgnoreSpec.from_lines(
            [*(ROOT / ".gitignore").read_text().splitlines(), ".git/", "*.patch"]
        )

        def skip(here: str, names: list[str]) -> set[str]:
            folder = Path(here).relative_to(ROOT)
            return {name for name in names if ignored.match_file(_as_git_path(folder / name))}

        shutil.copytree(ROOT, self._unchanged, ignore=skip)

    def run_unchanged(self, tests: tuple[str, ...]) -> Verdict:
        """Runs tests on the unchanged code: `survived` if they all pass."""
        return run_pytest(self._unchanged, tests, TESTS_SECONDS)

    def evaluate(self, patch: Patch) -> Verdict:
        began = time.monotonic()
        with TemporaryDirectory(dir=self._folder) as place:
            copy = Path(place) / "tree"
            shutil.copytree(self._unchanged, copy)
            for path, text in apply_patch(patch, copy).items():
                path.write_text(text, "utf-8")
            verdict = run_pytest(copy, patch.killers, KILLERS_SECONDS)
            if verdict.outcome == "survived" and self._named_only:
                verdict = Verdict("invalid", "survives the tests that it names", 0.0)
            elif verdict.outcome == "survived":
                verdict = self._run_all(copy)
        return Verdict(verdict.outcome, verdict.by, round(time.monotonic() - began, 1))

    def _run_all(self, copy: Path) -> Verdict:
        deselected = [argument for test in READ_ONLY_TESTS for argument in ("--deselect", test)]
        verdict = run_pytest(copy, (*TESTS, *deselected), TESTS_SECONDS)
        if verdict.outcome == "killed" and self.run_unchanged((verdict.by,)).outcome != "survived":
            return Verdict("invalid", f"{verdict.by} fails without the patch too", verdict.seconds)
        return verdict


def _as_git_path(path: Path) -> str:
    return f"{path.as_posix()}/" if (ROOT / path).is_dir() else path.as_posix()


def run_pytest(tree: Path, tests: tuple[str, ...], seconds: int) -> Verdict:
    """Runs tests in a tree until the first failure. `CI=true`, so that tests that need an emulator
    fail without one and are not skipped.
    """
    report = tree.parent / f"{tree.name}.xml"
    report.unlink(missing_ok=True)
    # Hypothesis works without its plugin, and loading it takes longer than most of these tests.
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
        return Verdict("invalid", f"timed out after {seconds} s", float(seconds))
    seconds_taken = time.monotonic() - began
    if done.returncode == 0:
        return Verdict("survived", "", seconds_taken)
    failure = _failure(report) if done.returncode == 1 else None
    return failure or Verdict(
        "invalid",
        f"pytest ended with {done.returncode}: {_tail(done.stdout + done.stderr)}",
        seconds_taken,
    )


def _failure(report: Path) -> Verdict | None:
    """The test that failed; None if something else did, such as a fixture."""
    for case in ElementTree.parse(report).iter("testcase"):
        for failure in case.iter("failure"):
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            text = f"{failure.get('message')}\n{failure.text}"
            if "from pytest-timeout" in text:
                return Verdict("invalid", f"{test} timed out", 0.0)
            if broken := BROKEN_CODE.search(text):
                return Verdict("invalid", f"{test} raised a {broken[0].strip(': ')}", 0.0)
            return Verdict("killed", test, 0.0)
    return None


def _tail(text: str) -> str:
    return " ".join(text.split())[-300:]
