"""Mutants of functions: mutmut generates them, mypy rejects some, and the tests run on the rest.

mutmut writes every mutant of a function next to it, in a copy of the code under `mutants/`, behind
a switch. So the tests are loaded once; a fork sets one switch and runs the tests that reach the
function until one fails. mutmut's own runner does the same but starts pytest for each mutant and
passes it the tests' names. That takes ten times as long, and if pytest does not find a name (one
with a backslash in it), the mutant counts as killed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from mmap import mmap
from pathlib import Path
from typing import Any

import pytest

from tests.assurance.mutation.scores import KILLED, MUTANTS, NO_TEST, REJECTED, RESULTS, ROOT

DIGEST = MUTANTS / "digest.txt"  # of the code and the tests that the mutants belong to

ARGUMENTS = (
    "-q",
    "--rootdir=.",
    "--noconftest",
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "--hypothesis-profile=ci",
    "tests/rollout",
)
MYPY = (
    sys.executable,
    "-m",
    "mypy",
    "rollout",
    "--output",
    "json",
    "--disable-error-code",
    "unused-ignore",
)


def generate_all() -> dict[str, int]:
    """Writes the mutants of everything in `rollout/`; returns those that mypy rejects."""
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from tests.assurance.mutation.functions import generate; generate()",
        ],
        cwd=ROOT,
        check=True,
    )
    rejected = {}
    output = subprocess.run(MYPY, cwd=MUTANTS, capture_output=True, text=True, check=False).stdout
    errors = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    spans = {file: list(_spans(MUTANTS / file)) for file in {error["file"] for error in errors}}
    for error in errors:
        if error["severity"] != "error":
            continue
        inside = [
            key for key, first, last in spans[error["file"]] if first <= error["line"] <= last
        ]
        if not inside:
            raise RuntimeError(f"mypy reports an error outside the mutants: {error}")
        rejected.update(dict.fromkeys(inside, REJECTED))
    return rejected


def is_current() -> bool:
    """Whether the existing mutants were made from the present code and run by the present tests."""
    return DIGEST.exists() and DIGEST.read_text("utf-8") == _digest()


def save_digest() -> None:
    """Records the code and the tests of this run, so that it can be continued."""
    DIGEST.write_text(_digest(), "utf-8")


def _digest() -> str:
    files = sorted([*(ROOT / "rollout").rglob("*.py"), *(ROOT / "tests/rollout").rglob("*.py")])
    text = "".join(f"{path.relative_to(ROOT)}\n{path.read_text('utf-8')}" for path in files)
    return hashlib.sha256(text.encode()).hexdigest()


def generate() -> None:
    """Runs only the first step of mutmut."""
    from mutmut.__main__ import create_mutants
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths

    os.environ["MUTANT_UNDER_TEST"] = "mutant_generation"
    MUTANTS.mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(1)


def _spans(path: Path) -> Iterable[tuple[str, int, int]]:
    """Each mutant of a file: the name that mutmut gives it, its first line and its last line."""
    module = ".".join(path.relative_to(MUTANTS).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.FunctionDef)
            and "__mutmut_" in node.name
            and not node.name.endswith("_orig")
        ):
            yield f"{module}.{node.name}", node.lineno, node.end_lineno or node.lineno


def list_mutants() -> list[str]:
    """The names of all generated mutants."""
    return [
        key for path in sorted((MUTANTS / "rollout").rglob("*.py")) for key, _, _ in _spans(path)
    ]


def run_mutants(patterns: Iterable[str], limit: int) -> None:
    """Runs the tests on the mutants whose names match, or on a random sample of them, in a separate
    process that imports the mutated code.
    """
    program = (
        "import sys; from tests.assurance.mutation.functions import run_here;"
        " sys.exit(run_here(int(sys.argv[1]), sys.argv[2:]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(limit), *patterns],
        cwd=MUTANTS,
        env={**os.environ, "MUTANT_UNDER_TEST": ""},
        check=True,
    )


def run_here(limit: int, patterns: list[str]) -> int:
    """Called in the folder `mutants/`. A sample is always the same."""
    sys.dont_write_bytecode = True
    results = json.loads(Path(RESULTS.name).read_text("utf-8"))
    named = [
        key
        for key in results
        if results[key] != REJECTED and any(fnmatch(key, each) for each in patterns)
    ]
    loop = _Loop(random.Random(0).sample(named, limit) if limit < len(named) else named, results)
    status = int(pytest.main([*ARGUMENTS], plugins=[loop]))
    return status or int(not loop.is_done)


class _Loop:
    """Replaces pytest's loop over the tests."""

    def __init__(self, keys: list[str], ends: dict[str, int | None]) -> None:
        self.keys, self.ends, self.is_done = keys, ends, False
        self.failed_test = mmap(-1, 4)  # shared with the forks: the number of the test that runs

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reach, seconds = _reach(session)
        reported = time.monotonic()
        ordered = {
            function: sorted(tests, key=lambda at: seconds[at]) for function, tests in reach.items()
        }
        for number, key in enumerate(self.keys, 1):
            tests = ordered.get(key.rpartition("__mutmut_")[0], [])
            self.ends[key] = (
                _run_mutant(session, key, tests, sum(seconds[at] for at in tests), self.failed_test)
                if tests
                else NO_TEST
            )
            if (
                self.ends[key] == KILLED
                and (at := int.from_bytes(self.failed_test[:4], "big")) in tests
            ):
                tests.remove(at)
                # A test that killed one mutant of a function is likely to kill the next.
                tests.insert(0, at)
            if time.monotonic() - reported > 20 or number == len(self.keys):
                reported = time.monotonic()
                survived = sum(self.ends[each] in (0, NO_TEST) for each in self.keys[:number])
                os.write(
                    2, f"{number} of {len(self.keys)} mutants run, {survived} survived\n".encode()
                )
                Path(RESULTS.name).write_text(json.dumps(self.ends, indent=1), "utf-8")
        self.is_done = True
        return True


def _reach(session: pytest.Session) -> tuple[dict[str, set[int]], list[float]]:
    """Which tests reach which function, and how long each test takes; measured in a fork, so that
    this process keeps its initial state.
    """
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            json.dump(_measure(session), out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as source:
        measured = source.read()
    if os.waitpid(child, 0)[1] or not measured:
        raise RuntimeError("the tests of tests/rollout fail on the unchanged code")
    reach = defaultdict[str, set[int]](set)
    for at, (functions, _) in enumerate(json.loads(measured)):
        for function in functions:
            reach[function].add(at)
    return reach, [seconds for _, seconds in json.loads(measured)]


def _measure(session: pytest.Session) -> list[tuple[list[str], float]]:
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.state import state

    _exit_on_failure(session)
    set_mutant_under_test("stats")
    found = []
    for at, item in enumerate(session.items):
        state()._stats.clear()
        began = time.process_time()
        _run(session, item, session.items[at + 1 :])
        found.append((sorted(state()._stats), time.process_time() - began))
    return found


def _run_mutant(
    session: pytest.Session, key: str, tests: list[int], seconds: float, failed_test: mmap
) -> int:
    """The exit status of the tests on this mutant, or the signal that ended them as a negative
    number.
    """
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70  # neither killed nor survived
    try:
        from mutmut.mutation.trampoline import set_mutant_under_test

        limit = 5 + round(3 * seconds + time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        _exit_on_failure(session)
        set_mutant_under_test(key)
        items = [session.items[at] for at in tests]
        for at, item in enumerate(items):
            failed_test[:4] = tests[at].to_bytes(4, "big")
            _run(session, item, items[at + 1 :])
        status = 0
    finally:
        os._exit(status)


def _run(session: pytest.Session, item: pytest.Item, rest: list[pytest.Item]) -> None:
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=rest[0] if rest else None)


def _exit_on_failure(session: pytest.Session) -> None:
    class ExitOnFailure:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed:
                os._exit(1)

    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    session.config.pluginmanager.unregister(name="terminalreporter")
    session.config.pluginmanager.register(ExitOnFailure())
