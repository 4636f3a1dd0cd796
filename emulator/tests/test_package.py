"""The distribution builds, contains every module, and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from compute_emulator.api.coverage import as_markdown

EMULATOR = Path(__file__).parents[1]
MODULES = {
    path.relative_to(EMULATOR / "src").as_posix() for path in (EMULATOR / "src").rglob("*.py")
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist made from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=EMULATOR, check=True, capture_output=True)
    return folder


@pytest.mark.xdist_group("package")
def test_the_wheel_contains_every_module_and_the_command(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("compute_emulator-*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        commands = wheel.read(entry_points).decode()
    assert {name for name in names if ".dist-info/" not in name} == MODULES
    assert "compute-emulator = compute_emulator.__main__:main" in commands


@pytest.mark.xdist_group("package")
def test_the_source_distribution_contains_what_the_wheel_is_built_from(built: Path) -> None:
    with tarfile.open(next(built.glob("compute_emulator-*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{module}" for module in MODULES} <= names
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= names


@pytest.mark.xdist_group("package")
def test_the_installed_wheel_runs_without_the_checkout(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("compute_emulator-*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    finished = subprocess.run(
        [sys.executable, "-m", "compute_emulator", "--coverage"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stdout == as_markdown()
