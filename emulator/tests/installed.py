"""Installs clients that only one test each needs, pinned, into folders of the environment that runs
the tests. A later run finds them there.

Where a client cannot be installed (no Node, no registry), its tests are skipped with the reason,
also in CI: the emulator does not depend on these clients.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

HERE = Path(__file__).parent
INSTALL_SECONDS = 120
COLLECTION = "ansible_collections/google/"


def ansible() -> Path:
    """A folder with an environment (`bin/ansible-playbook`) and Google's collection below it
    (`collections`).
    """
    pins = HERE / "ansible"
    return _installed(
        "ansible", _install_ansible, pins / "requirements.txt", pins / "collections.txt"
    )


def node() -> Path:
    """A folder with `node_modules`."""
    pins = HERE / "node"
    return _installed("node", _install_node, pins / "package.json", pins / "package-lock.json")


def _installed(name: str, install: Callable[[Path], None], *pins: Path) -> Path:
    """Install if the pins differ from those of the installed client."""
    folder = Path(sys.prefix) / "clients" / name
    record = folder / "pins.sha256"
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in pins)).hexdigest()
    if record.exists() and record.read_text() == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        install(folder)
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        why = next((each for each in lines if "error" in each.lower()), lines[-1])
        pytest.skip(f"{name} cannot be installed: {why}")
    record.write_text(digest)
    return folder


def _install_ansible(folder: Path) -> None:
    """Google's collection is part of a package of 50 MB with all collections: only its own folder
    is kept.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    pins = HERE / "ansible"
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _run(
        *(uv, "pip", "install", "--quiet", "--require-hashes", "--python", f"{folder}/bin/python"),
        *("--requirement", str(pins / "requirements.txt")),
    )
    with tempfile.TemporaryDirectory() as downloads:
        _run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--disable-pip-version-check", "--no-cache-dir", "--dest", downloads),
            *("--requirement", str(pins / "collections.txt")),
        )
        (wheel,) = Path(downloads).glob("*.whl")
        with ZipFile(wheel) as archive:
            kept = [each for each in archive.namelist() if each.startswith(COLLECTION)]
            archive.extractall(folder / "collections", kept)


def _install_node(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "node" / name, folder)
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)


def _run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS, cwd=folder
    )
