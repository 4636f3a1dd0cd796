"""Repository-wide rules: what a function loads, which modules may use the clock and Compute Engine,
and what the tree must not contain.

Import contracts (pyproject.toml) check the directions between packages. These tests check what
contracts cannot express.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pathspec
import pytest

import compute_emulator

ROOT = Path(__file__).parents[1]
DEPLOYED = ("handlers", "infra", "rollout")
IGNORED = pathspec.GitIgnoreSpec.from_lines(
    [*(ROOT / ".gitignore").read_text().splitlines(), "/.git"]
)

# What only wiring may use: the environment, the clock, randomness.
AMBIENT = re.compile(
    r"os\.(environ|getenv|putenv)"
    r"|time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|sleep)"
    r"|datetime\.(date|datetime)\.(now|utcnow|today)"
    r"|random\..*|secrets\..*|uuid\.uuid[14]"
)

# Modules that no function needs: `local` and its dependencies, those of the tests, and the embedded
# store.
NEVER_LOADED = {
    "bench",
    "console",
    "cronsim",
    "googleapiclient",
    "httplib2",
    "hypothesis",
    "infra.store.sqlite",
    "jsonschema",
    "local",
    "matplotlib",
    "pytest",
    "rich",
    "sqlite3",
    "typer",
    "unittest",
    "xmlrpc",
    "yaml",
}
INTAKE_NEVER_LOADS = NEVER_LOADED | {
    "google.cloud.compute",
    "google.cloud.compute_v1",
    "handlers.reconcile.loop",
    "infra.compute.apply",
    "infra.compute.client",
    "infra.fleet.plan",
}

UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
ONE_MACHINE = re.compile(r"(?<![\w.$}])/(root|work|home/[a-z]\w*|Users/\w+)/")


def deployed_files() -> list[Path]:
    return [
        ROOT / "main.py",
        *sorted(path for folder in DEPLOYED for path in (ROOT / folder).rglob("*.py")),
    ]


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module or name that a file imports, at any place."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def names_used(path: Path) -> Iterator[str]:
    """Full dotted names: `from os import environ as e; e["X"]` uses os.environ."""
    tree = ast.parse(path.read_text())
    origin: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            origin |= {
                alias.asname or alias.name.split(".")[0]: (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            origin |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute | ast.Name)
            and (base := ast.unparse(node).split(".")[0]) in origin
        ):
            yield ".".join([origin[base], *ast.unparse(node).split(".")[1:]])


def in_tree() -> list[Path]:
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not IGNORED.match_file(path.relative_to(ROOT))
    ]


# -- What a function loads


# Addresses that are never contacted, since no event arrives; with them the clients need no
# credentials.
UNUSED_ADDRESSES = {
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
    "SLIPWAY_COMPUTE_ENDPOINT": "http://127.0.0.1:9",
}


def loaded_by(entry_point: str, then: str = "") -> set[str]:
    """Every module that a fresh process imports before its first event, kept or not."""
    environment = (
        os.environ
        | {"FUNCTION_TARGET": entry_point, "GOOGLE_CLOUD_PROJECT": "house"}
        | UNUSED_ADDRESSES
    )
    command = [sys.executable, "-X", "importtime", "-c", f"import main\n{then}"]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return {
        line.rpartition("|")[2].strip()
        for line in process.stderr.splitlines()
        if line.startswith("import time:")
    }


@pytest.mark.parametrize(
    ("entry_point", "never"),
    [
        ("on_release", INTAKE_NEVER_LOADS),
        ("on_approval", INTAKE_NEVER_LOADS),
        ("on_alert", INTAKE_NEVER_LOADS),
        ("on_artifact", INTAKE_NEVER_LOADS),
        ("on_status", INTAKE_NEVER_LOADS),
        ("on_webhook", INTAKE_NEVER_LOADS | {"google.cloud.firestore", "infra.store"}),
        ("on_wakeup", NEVER_LOADED),
    ],
)
def test_a_function_loads_only_what_it_needs(entry_point: str, never: set[str]) -> None:
    loaded = loaded_by(entry_point)
    assert "main" in loaded
    assert (
        sorted(
            name
            for name in loaded
            if name in never or any(name.startswith(f"{each}.") for each in never)
        )
        == []
    )


GET_A_GROUP = """
from contextlib import suppress
from infra import wiring
from infra.compute.errors import Retry
from infra.fleet.model import Key
with suppress(Retry):
    wiring.world().compute.get(Key("regionInstanceGroupManagers", "us-central1", "slipway-a-blue"))
"""


def test_the_reconciler_loads_only_the_compute_services_that_it_calls() -> None:
    loaded = loaded_by("on_wakeup", then=GET_A_GROUP)
    services = {
        name.split(".")[4]
        for name in loaded
        if name.startswith("google.cloud.compute_v1.services.")
    }
    assert "region_instance_group_managers" in services
    assert len(services) <= 20, "the client has some 130"
    assert "google.cloud.compute_v1" not in loaded


PRINT_ENTRY_POINTS = """
import inspect, main
print({name: each.__name__ for name, each in vars(main).items() if inspect.isfunction(each)})
"""


def test_the_entry_points_are_plain_functions_with_their_own_names() -> None:
    """In a fresh process: importing main registers an error handler with functions-framework's app,
    which fails once that app has served a request.
    """
    command = [sys.executable, "-c", PRINT_ENTRY_POINTS]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert process.returncode == 0, process.stderr[-2000:]
    names = ast.literal_eval(process.stdout)
    entry_points = (
        *("on_release", "on_approval", "on_alert"),
        *("on_artifact", "on_status", "on_webhook", "on_wakeup"),
    )
    assert {name: name for name in entry_points}.items() <= names.items()


@pytest.mark.parametrize("name", ["main", "console", *DEPLOYED])
def test_no_installed_package_shadows_ours(name: str) -> None:
    assert name not in packages_distributions(), f"an installed package is also called {name}"
    spec = find_spec(name)
    assert spec is not None
    assert Path(spec.origin or "").is_relative_to(ROOT)


# -- Who may use what


@pytest.mark.parametrize("path", deployed_files(), ids=module)
def test_only_wiring_uses_the_environment_the_clock_and_randomness(path: Path) -> None:
    if module(path) == "infra.wiring":
        return
    assert sorted({name for name in names_used(path) if AMBIENT.fullmatch(name)}) == []


@pytest.mark.parametrize("path", deployed_files(), ids=module)
def test_only_the_compute_module_imports_google_compute(path: Path) -> None:
    if re.fullmatch(r"infra\.compute(_\w+)?(\.\w+)*", module(path)):
        return
    assert (
        sorted(
            name
            for name in imports(path)
            if name.startswith(("google.cloud.compute", "googleapiclient"))
        )
        == []
    )


def test_main_imports_only_handlers_wiring_logs_and_the_bound_of_bodies() -> None:
    ours = {
        name
        for name in imports(ROOT / "main.py")
        if name.split(".")[0] in (*DEPLOYED, "bench", "console", "local", "tests")
    }
    assert {name for name in ours if not name.startswith("handlers.")} <= {
        "infra.bus.body",
        "infra.cold_start",
        "infra.logs",
        "infra.wiring",
    }


def test_deployed_code_never_imports_main_or_code_that_is_not_deployed() -> None:
    wrong = {(module(path), name) for path in deployed_files() for name in imports(path)}
    assert (
        sorted(
            pair
            for pair in wrong
            if pair[1].split(".")[0] in ("main", "bench", "console", "local", "tests")
        )
        == []
    )


@pytest.mark.parametrize("folder", ["bench", "local", "tests"])
def test_the_emulator_is_used_only_through_its_public_interface(folder: str) -> None:
    names = ("__all__", *compute_emulator.__all__)
    public = {"compute_emulator", *(f"compute_emulator.{name}" for name in names)}
    wrong = {
        (module(path), name)
        for path in (ROOT / folder).rglob("*.py")
        for name in (*imports(path), *names_used(path))
        if name.startswith("compute_emulator") and ".".join(name.split(".")[:2]) not in public
    }
    assert wrong == set()


# -- What is deployed, and what the tree never contains


def test_only_the_code_and_its_pins_are_uploaded() -> None:
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".gcloudignore").read_text().splitlines())
    uploaded = {
        path.relative_to(ROOT)
        for path in in_tree()
        if not ignored.match_file(path.relative_to(ROOT))
    }
    inside = {
        path.relative_to(ROOT) for path in in_tree() if path.relative_to(ROOT).parts[0] in DEPLOYED
    }
    assert uploaded == inside | {Path("main.py"), Path("requirements.txt")}


def test_make_help_lists_every_command() -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    commands = set(phony.split())
    listed = subprocess.run(["make"], capture_output=True, text=True, cwd=ROOT, timeout=20).stdout
    assert set(re.findall(r"^  make (\S+)", listed, re.MULTILINE)) == commands


def test_ci_runs_the_make_targets_that_developers_run() -> None:
    commands = re.findall(
        r"^make .*?([\w-]+)(?: \|\|.*)?$", (ROOT / ".ci/run").read_text(), re.MULTILINE
    )
    assert commands == ["setup", "check", "test", "test-wide"]


def test_no_file_contains_a_path_of_one_machine_or_a_mark_of_unfinished_work() -> None:
    found = []
    for path in in_tree():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if ONE_MACHINE.search(line) or UNFINISHED.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []
