"""The distribution builds, contains every module, and works alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

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


def test_the_wheel_contains_every_module_and_the_command(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("compute_emulator-*.whl"))) as wheel:
        names = set(wheel.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        commands = wheel.read(entry_points).decode()
    assert {name for name in names if ".dist-info/" not in name} == MODULES
    assert "compute-emulator = compute_emulator.__main__:main" in commands


def test_the_source_distribution_contains_what_the_wheel_is_built_from(built: Path) -> None:
    with tarfile.open(next(built.glob("compute_emulator-*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{module}" for module in MODULES} <= names
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= names


def test_the_wheel_in_an_empty_environment_serves_googles_client(
    built: Path, tmp_path: Path
) -> None:
    """Only the wheel and what it depends on are installed, in the pinned versions."""
    uv, python = str(Path(sys.executable).with_name("uv")), tmp_path / "bin" / "python"
    try:
        run(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path), cwd=tmp_path)
        run(
            *(uv, "pip", "install", "--quiet", "--python", str(python)),
            *("--constraint", str(EMULATOR.parent / "requirements-dev.txt")),
            str(next(built.glob("compute_emulator-*.whl"))),
            cwd=tmp_path,
        )
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the dependencies cannot be installed: {error.stderr.strip()}")
    command = [str(tmp_path / "bin" / "compute-emulator"), "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean(), stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            url = program.stdout.readline().split()[-1].removesuffix("/control)")
            client = compute_v1.ZonesClient(
                credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
            )
            assert client.get(project="demo", zone="us-central1-a").status == "UP"
        finally:
            program.terminate()


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, env=clean(), check=True, capture_output=True, text=True)


def clean() -> dict[str, str]:
    """The environment without what could make the checkout visible."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in hidden}
