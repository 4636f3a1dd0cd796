"""Starts and stops gcloud's Pub/Sub and Firestore emulators, each on a free port.

Used by the local stack and the tests. An emulator starts in a few seconds, keeps its data in memory
and writes only into the given folder. The caller of `start` must call `stop`, which ends the
process group that `start` created and no other process.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

Kind = Literal["pubsub", "firestore"]

_HOST = "127.0.0.1"
_COMPONENTS: dict[Kind, str] = {
    "pubsub": "pubsub-emulator",
    "firestore": "cloud-firestore-emulator",
}
_TRIES = 3  # another process may take the free port before the emulator does


class EmulatorError(Exception):
    """The emulator did not start; the text contains the end of its log."""


@dataclass(frozen=True)
class Emulator:
    """`address` is `host:port`, as clients expect it; `group` is the process group to stop;
    `process` is set only in the process that started it.
    """

    kind: Kind
    address: str
    group: int
    process: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)


def missing(kind: Kind) -> str | None:
    """Why the emulator cannot start on this machine and what to do about it; None if it can."""
    gcloud = shutil.which("gcloud")
    if not gcloud:
        return (
            f"gcloud, which contains the {kind} emulator, is not installed"
            " (https://cloud.google.com/sdk)"
        )
    if not shutil.which("java"):
        return f"java is not installed; the {kind} emulator needs a Java runtime, 11 or newer"
    if not (_sdk_root(gcloud) / "platform" / _COMPONENTS[kind]).is_dir():
        return f"gcloud has no {kind} emulator: gcloud components install {_COMPONENTS[kind]}"
    return None


def start(kind: Kind, folder: Path, patience_seconds: float = 60.0) -> Emulator:
    """Starts an emulator and waits until it responds. Its log and configuration go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    why = ""
    for _ in range(_TRIES):
        address = f"{_HOST}:{_free_port()}"
        log = folder / f"{kind}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                _command(kind, address, folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(folder),
                start_new_session=True,
            )
        emulator = Emulator(kind, address, process.pid, process)
        try:
            if _comes_up(process, address, patience_seconds):
                return emulator
        except BaseException:
            stop(emulator)
            raise
        stop(emulator)
        why = log.read_text(errors="replace")[-2000:]
    raise EmulatorError(f"the {kind} emulator did not start within {patience_seconds:g} s:\n{why}")


def stop(emulator: Emulator, patience_seconds: float = 10.0) -> None:
    """Ends the emulator's process group. Safe to repeat, and safe from another process than the one
    that started it.
    """
    with suppress(ProcessLookupError):
        os.killpg(emulator.group, signal.SIGTERM)
    until = time.monotonic() + patience_seconds
    while _answers(emulator.address) and time.monotonic() < until:
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(emulator.group, signal.SIGKILL)
    if emulator.process:
        emulator.process.wait()


@contextmanager
def running(*kinds: Kind) -> Iterator[dict[Kind, str]]:
    """Runs emulators for the duration of the block and yields their addresses. They start in
    parallel, in about three seconds.
    """
    from concurrent.futures import ThreadPoolExecutor

    started: list[Emulator] = []
    with TemporaryDirectory(prefix="slipway-emulators-") as folder:
        try:
            with ThreadPoolExecutor(len(kinds)) as pool:
                list(pool.map(lambda kind: started.append(start(kind, Path(folder) / kind)), kinds))
            yield {emulator.kind: emulator.address for emulator in started}
        finally:
            for emulator in started:
                stop(emulator)


def _command(kind: Kind, address: str, folder: Path) -> list[str]:
    if kind == "pubsub":
        return [
            "gcloud",
            "beta",
            "emulators",
            "pubsub",
            "start",
            f"--host-port={address}",
            f"--data-dir={folder}",
            "--project=local",
        ]
    return ["gcloud", "emulators", "firestore", "start", f"--host-port={address}"]


def _environment(folder: Path) -> dict[str, str]:
    """Keeps gcloud from prompting, reporting usage, and using the user's configuration."""
    return os.environ | {
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    }


def _comes_up(process: subprocess.Popen[bytes], address: str, patience_seconds: float) -> bool:
    until = time.monotonic() + patience_seconds
    while process.poll() is None and time.monotonic() < until:
        if _answers(address):
            return True
        time.sleep(0.1)
    return False


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _sdk_root(gcloud: str) -> Path:
    root = Path(gcloud).resolve().parent.parent
    if (root / "platform").is_dir():
        return root
    # gcloud is a wrapper in another place; `gcloud info` knows, but is slow.
    command = ["gcloud", "info", "--format=value(installation.sdk_root)"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Path(result.stdout.strip() or root)
