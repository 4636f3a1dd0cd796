"""Mutants of functions: mutmut makes them, mypy refuses some, and the rest are tried one by one,
each in a fork.

mutmut puts every mutant of a function beside it, in a copy of the code under `mutants/`, behind a
switch. So the tests are loaded once; a fork throws one switch and runs the tests that reach the
function until one fails. mutmut's own loop does the same but starts pytest anew for each mutant and
names the tests to it: that takes ten times as long, and where pytest cannot find a name again (one
with a backslash in it) the mutant counts as killed."""

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

from tests.assurance.mutation.scores import KILLED, MUTANTS, NO_TEST, REFUSED, RESULTS, ROOT

OF = MUTANTS / "of.txt"  # the digest of what they were made of and are tried by

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


def make() -> dict[str, int]:
    """Writes the mutants of everything in `rollout/`; answers with those that mypy refuses."""
    subprocess.run(
        [sys.executable, "-c", "from tests.assurance.mutation.inside import generate; generate()"],
        cwd=ROOT,
        check=True,
    )
    refused = {}
    told = subprocess.run(MYPY, cwd=MUTANTS, capture_output=True, text=True, check=False).stdout
    errors = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    spans = {file: list(_spans(MUTANTS / file)) for file in {error["file"] for error in errors}}
    for error in errors:
        if error["severity"] != "error":
            continue
        inside = [
            key for key, first, last in spans[error["file"]] if first <= error["line"] <= last
        ]
        if not inside:
            raise RuntimeError(f"mypy complains about more than mutants: {error}")
        refused.update(dict.fromkeys(inside, REFUSED))
    return refused


def is_of_now() -> bool:
    """Whether the mutants that are there were made of the code as it is, and tried by the tests as
    they are."""
    return OF.exists() and OF.read_text("utf-8") == _digest()


def mark() -> None:
    """Keep what the mutants were made of, so that a run may be gone on with."""
    OF.write_text(_digest(), "utf-8")


def _digest() -> str:
    files = sorted([*(ROOT / "rollout").rglob("*.py"), *(ROOT / "tests/rollout").rglob("*.py")])
    text = "".join(f"{path.relative_to(ROOT)}\n{path.read_text('utf-8')}" for path in files)
    return hashlib.sha256(text.encode()).hexdigest()


def generate() -> None:
    """mutmut's first step alone."""
    from mutmut.__main__ import create_mutants
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths

    os.environ["MUTANT_UNDER_TEST"] = "mutant_generation"
    MUTANTS.mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(1)


def _spans(path: Path) -> Iterable[tuple[str, int, int]]:
    """Each mutant in a file, by the name that mutmut gives it, and its lines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.FunctionDef)
            and "__mutmut_" in node.name
            and not node.name.endswith("_orig")
        ):
            yield f"rollout.{path.stem}.{node.name}", node.lineno, node.end_lineno or node.lineno


def every() -> list[str]:
    """The names of all mutants that were made."""
    return [
        key for path in sorted((MUTANTS / "rollout").glob("*.py")) for key, _, _ in _spans(path)
    ]


def tried(patterns: Iterable[str], most: int) -> None:
    """Tries the mutants whose names fit, or so many of them by chance, in a process of its own that
    imports the mutated code."""
    program = (
        "import sys; from tests.assurance.mutation.inside import try_all;"
        " sys.exit(try_all(int(sys.argv[1]), sys.argv[2:]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(most), *patterns],
        cwd=MUTANTS,
        env={**os.environ, "MUTANT_UNDER_TEST": ""},
        check=True,
    )


def try_all(most: int, patterns: list[str]) -> int:
    """Called in `mutants/`. The same mutants are chosen each time."""
    sys.dont_write_bytecode = True
    results = json.loads(Path(RESULTS.name).read_text("utf-8"))
    named = [
        key
        for key in results
        if results[key] != REFUSED and any(fnmatch(key, each) for each in patterns)
    ]
    loop = _Loop(random.Random(0).sample(named, most) if most < len(named) else named, results)
    status = int(pytest.main([*ARGUMENTS], plugins=[loop]))
    return status or int(not loop.is_done)


class _Loop:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self, keys: list[str], ends: dict[str, int | None]) -> None:
        self.keys, self.ends, self.is_done = keys, ends, False
        self.noticed = mmap(-1, 4)  # shared with the forks: which test failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reach, seconds = _reach(session)
        told = time.monotonic()
        ordered = {
            function: sorted(tests, key=lambda at: seconds[at]) for function, tests in reach.items()
        }
        for number, key in enumerate(self.keys, 1):
            tests = ordered.get(key.rpartition("__mutmut_")[0], [])
            self.ends[key] = (
                _end(session, key, tests, sum(seconds[at] for at in tests), self.noticed)
                if tests
                else NO_TEST
            )
            if (
                self.ends[key] == KILLED
                and (at := int.from_bytes(self.noticed[:4], "big")) in tests
            ):
                tests.remove(at)
                tests.insert(
                    0, at
                )  # what noticed one mutant of a function is likely to notice the next
            if time.monotonic() - told > 20 or number == len(self.keys):
                told = time.monotonic()
                survived = sum(self.ends[each] in (0, NO_TEST) for each in self.keys[:number])
                os.write(
                    2, f"{number} of {len(self.keys)} mutants tried, {survived} survived\n".encode()
                )
                Path(RESULTS.name).write_text(json.dumps(self.ends, indent=1), "utf-8")
        self.is_done = True
        return True


def _reach(session: pytest.Session) -> tuple[dict[str, set[int]], list[float]]:
    """Which tests reach which function, and how long each test takes; learned in a fork, so that
    this process stays fresh."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            json.dump(_watched(session), out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as source:
        told = source.read()
    if os.waitpid(child, 0)[1] or not told:
        raise RuntimeError("the tests of tests/rollout fail on the code as it is")
    reach = defaultdict[str, set[int]](set)
    for at, (functions, _) in enumerate(json.loads(told)):
        for function in functions:
            reach[function].add(at)
    return reach, [seconds for _, seconds in json.loads(told)]


def _watched(session: pytest.Session) -> list[tuple[list[str], float]]:
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.state import state

    _fail_at_once(session)
    set_mutant_under_test("stats")
    found = []
    for at, item in enumerate(session.items):
        state()._stats.clear()
        began = time.process_time()
        _run(session, item, session.items[at + 1 :])
        found.append((sorted(state()._stats), time.process_time() - began))
    return found


def _end(session: pytest.Session, key: str, tests: list[int], seconds: float, noticed: mmap) -> int:
    """The exit status of the tests on this mutant, or the signal that ended them as a negative
    number."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70  # unless a test fails or all pass: no kill
    try:
        from mutmut.mutation.trampoline import set_mutant_under_test

        limit = 5 + round(3 * seconds + time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        _fail_at_once(session)
        set_mutant_under_test(key)
        items = [session.items[at] for at in tests]
        for at, item in enumerate(items):
            noticed[:4] = tests[at].to_bytes(4, "big")
            _run(session, item, items[at + 1 :])
        status = 0
    finally:
        os._exit(status)


def _run(session: pytest.Session, item: pytest.Item, rest: list[pytest.Item]) -> None:
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=rest[0] if rest else None)


def _fail_at_once(session: pytest.Session) -> None:
    class Ending:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed:
                os._exit(1)

    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    session.config.pluginmanager.unregister(name="terminalreporter")
    session.config.pluginmanager.register(Ending())
