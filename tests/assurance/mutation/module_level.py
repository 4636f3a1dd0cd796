"""Mutants of what mutmut leaves alone: module-level code, class bodies and decorated functions.

mutmut writes all mutants of a function into one module, which works for functions only. Here each
mutant is a copy of the whole file, imported by a fork of this process in a separate tree. The
changes are mutmut's: numbers, comparisons, `and`, `or`, `not`, `in`, `is`, True and False. Strings,
types and decorators stay unchanged.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import libcst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

from tests.assurance.mutation.scores import ROOT, Score, list_modules

COPIED = (
    "docs",
    "examples",
    "infra",
    "rollout",
    "schemas",
    "tests/rollout",
    "README.md",
    "pyproject.toml",
)
OUR_PACKAGES = ("handlers", "infra", "local", "rollout", "tests")
TIMEOUT_SECONDS = 300
ARGUMENTS = (
    "-x",
    "-q",
    "--noconftest",
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "--hypothesis-profile=ci",
)
# Fast tests that check much run first; slow ones that try many values run last.
FIRST, LAST = (
    ("test_spec_schema.py", "test_spec_validation.py", "test_gates.py"),
    (
        "test_spec_json.py",
        "test_spec_properties.py",
    ),
)


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    change: str
    source: str


def generate(file: str, source: str) -> list[Mutant]:
    wrapper = MetadataWrapper(libcst.parse_module(source))
    found = _Collector()
    wrapper.visit(found)
    module = wrapper.module
    return [
        Mutant(
            file,
            line,
            " -> ".join(module.code_for_node(node).strip() for node in (before, after)),
            libcst.ensure_type(module.deep_replace(before, after), libcst.Module).code,
        )
        for line, before, after in found.changes
    ]


class _Collector(libcst.CSTVisitor):
    """Collects the changes: each node with its replacement by mutmut."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[int, libcst.CSTNode, libcst.CSTNode]] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.Decorator) or (
            isinstance(node, libcst.FunctionDef) and not node.decorators
        ):
            return False
        for after in _replacements(node):
            line = self.get_metadata(PositionProvider, node).start.line
            self.changes.append((line, node, after))
        return True


def _replacements(node: libcst.CSTNode) -> Iterator[libcst.CSTNode]:
    if isinstance(node, libcst.BaseNumber):
        yield from mutators.operator_number(node)
    elif isinstance(node, libcst.Name):
        yield from mutators.operator_name(node)
    elif isinstance(node, libcst.BooleanOperation):
        yield from mutators.operator_swap_op(node)
    elif isinstance(node, libcst.ComparisonTarget):
        yield from mutators.operator_swap_op(node)
        yield from (
            node.with_changes(operator=operator)
            for operator in mutators.operator_keywords(node.operator)
        )
    elif isinstance(node, libcst.UnaryOperation):
        yield from mutators.operator_remove_unary_ops(node)


def run_all(verbose: bool = True) -> list[Score]:
    """A score for each file that has such mutants; prints the survivors."""
    with TemporaryDirectory() as folder:
        tree = _copy_tree(Path(folder))
        if _run_tests(tree) != 0:
            raise RuntimeError("the tests of tests/rollout fail on the unchanged code")
        return [score for file in list_modules() if (score := _run_file(file, tree, verbose)).total]


def _copy_tree(tree: Path) -> Path:
    for name in COPIED:
        target = tree / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    return tree


def _run_file(file: str, tree: Path, verbose: bool) -> Score:
    source = (tree / file).read_text("utf-8")
    score = Score(file)
    for mutant in generate(file, source):
        (tree / file).write_text(mutant.source, "utf-8")
        end = _run_tests(tree)
        if end == 0 and verbose:
            print(f"survived: {file}:{mutant.line}: {mutant.change}", flush=True)
        score += Score(file, killed=int(end > 0), survived=int(end == 0), timed_out=int(end < 0))
    (tree / file).write_text(source, "utf-8")
    return score


def _run_tests(tree: Path) -> int:
    """pytest's exit status in a fork of this process; negative if a signal ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        status = _run_here(tree)
    finally:
        os._exit(status)


def _run_here(tree: Path) -> int:
    import pytest

    signal.alarm(TIMEOUT_SECONDS)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(tree)
    sys.dont_write_bytecode = True
    sys.path[:] = [str(tree), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in OUR_PACKAGES]:
        del sys.modules[name]
    every = sorted(path.name for path in (tree / "tests/rollout").glob("test_*.py"))
    ordered = [*FIRST, *(name for name in every if name not in FIRST + LAST), *LAST]
    return int(
        pytest.main(
            [*ARGUMENTS, f"--rootdir={tree}", *(f"tests/rollout/{name}" for name in ordered)]
        )
    )
