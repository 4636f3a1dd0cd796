"""The pinned packages match the lists they are made from, and the functions' imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+))?", re.MULTILINE
)
LOCKS = pytest.mark.parametrize("lock", ["requirements", "requirements-demo", "requirements-dev"])

# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud.compute_v1": "google-cloud-compute",
    "google.cloud.firestore": "google-cloud-firestore",
    "google.cloud.firestore_v1": "google-cloud-firestore",
    "google.cloud.pubsub_v1": "google-cloud-pubsub",
    "google.pubsub_v1": "google-cloud-pubsub",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
}
PACKAGES = ("handlers", "infra", "rollout")
# The command line never loads the module that imports it.
NOT_OF_THE_COMMAND_LINE = {"cloudevents", "werkzeug"}


def listed(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    required = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return {canonicalize_name(requirement.name): requirement for requirement in required}


def blocks(lock: str) -> dict[str, str]:
    """Each pinned package with its whole entry: version, hashes, and what requires it."""
    text = (ROOT / f"{lock}.txt").read_text()
    starts = [*PIN.finditer(text)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return {
        canonicalize_name(match["name"]): text[match.start() : end]
        for match, end in zip(starts, ends, strict=True)
    }


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / f"{lock}.txt").read_text()
    return {canonicalize_name(match["name"]): match["version"] for match in PIN.finditer(text)}


@LOCKS
def test_the_pins_match_the_list_they_are_made_from(lock: str) -> None:
    required = listed(f"{lock}.in")
    direct = {name for name, block in blocks(lock).items() if re.search(rf"-r {lock}\.in\b", block)}
    assert direct == set(required), f"{lock}.in and {lock}.txt disagree: run `make lock`"
    assert all(
        requirement.specifier.contains(pins(lock)[name]) for name, requirement in required.items()
    )


@LOCKS
def test_every_pinned_package_names_the_hashes_of_its_files(lock: str) -> None:
    assert [name for name, block in blocks(lock).items() if "--hash=sha256:" not in block] == []


def test_the_demo_runs_on_a_part_of_the_packages_of_development() -> None:
    assert pins("requirements").items() <= pins("requirements-demo").items()
    assert pins("requirements-demo").items() < pins("requirements-dev").items()


def test_development_runs_on_the_versions_that_are_deployed() -> None:
    developed = pins("requirements-dev")
    assert {name: developed.get(name) for name in pins("requirements")} == pins("requirements")


def test_the_environment_of_this_test_run_has_the_pinned_versions() -> None:
    text = (ROOT / "requirements-dev.txt").read_text()
    here = [
        match
        for match in PIN.finditer(text)
        if not match["marker"] or Marker(match["marker"].strip()).evaluate()
    ]
    different = {
        match["name"]: (version(match["name"]), match["version"])
        for match in here
        if version(match["name"]) != match["version"]
    }
    assert different == {}, "installed and pinned versions differ: run `make setup`"


def test_each_package_that_deployed_code_imports_is_listed() -> None:
    required = set(listed("requirements.in"))
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, name in third_party_imports()
        if distribution(name) not in required
    }
    assert missing == set(), "add the package to requirements.in and run `make lock`"


def test_each_package_that_the_command_line_imports_is_installed_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {
        canonicalize_name(Requirement(each).name): Requirement(each)
        for each in project["dependencies"]
    }
    imports = {
        distribution(name)
        for _, name in third_party_imports("console")
        if name != "compute_emulator"
    }
    assert imports <= set(required)
    deployed = {
        distribution(name) for _, name in third_party_imports("handlers", "infra", "rollout")
    }
    assert deployed - set(required) == NOT_OF_THE_COMMAND_LINE
    emulator = tomllib.loads((ROOT / "emulator/pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["rehearse"]
    names = {canonicalize_name(Requirement(each).name) for each in extra}
    needed = {canonicalize_name(Requirement(each).name) for each in emulator["dependencies"]}
    assert needed - set(required) == names - NOT_OF_THE_COMMAND_LINE
    developed = pins("requirements-dev")
    assert [name for name, each in required.items() if developed[name] not in each.specifier] == []


def third_party_imports(*folders: str) -> set[tuple[Path, str]]:
    """Of the deployed code, or of these folders."""
    files = [
        *(() if folders else ROOT.glob("main.py")),
        *(path for folder in folders or PACKAGES for path in (ROOT / folder).rglob("*.py")),
    ]
    found = {(path, name) for path in files for name in imported(path)}
    return {
        (path, name)
        for path, name in found
        if name.split(".")[0] not in {*PACKAGES, "console", "local", *sys.stdlib_module_names}
    }


def imported(path: Path) -> set[str]:
    """The modules that a file imports; `from google.cloud import firestore` counts as
    google.cloud.firestore.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = node.module in ("google", "google.cloud")
            names |= {
                f"{node.module}.{alias.name}" if inside else node.module for alias in node.names
            }
    return names


def distribution(module: str) -> str:
    known = [name for name in DISTRIBUTIONS if module == name or module.startswith(f"{name}.")]
    return DISTRIBUTIONS[known[0]] if known else canonicalize_name(module.split(".")[0])
