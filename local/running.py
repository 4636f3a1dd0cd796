"""Says where a local stack runs, so that the command line finds it by itself.

`local/demo.py` announces a stack that it keeps; `console/connect.py` finds it. The file is locked
as long as the stack runs, and the kernel releases the lock of a process that was killed. So a file
that nobody has locked is out of date, whatever is in it. Imports nothing of the stack.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ATTEMPTS = 5
BACK_OFF_SECONDS = 0.05  # a reader has the lock for less


@dataclass(frozen=True)
class RunningStack:
    """`environment`: that of the functions. `pubsub`: host:port of Pub/Sub's REST API."""

    pid: int
    environment: dict[str, str]
    pubsub: str


def file_of(environment: Mapping[str, str]) -> Path:
    """In the user's own folder, where nobody else can write."""
    state = environment.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "slipway/local-stack.json"


@contextmanager
def announced(file: Path, stack: RunningStack) -> Iterator[bool]:
    """Announces the stack in the `with` block. False if another stack is announced already, or if
    the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        if not _lock(descriptor):
            yield False
            return
        _write(descriptor, json.dumps(asdict(stack)))
        try:
            yield True
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def find(file: Path) -> RunningStack | None:
    """The stack that is announced and runs."""
    with suppress(OSError, ValueError, TypeError), file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return RunningStack(**json.load(opened))
    return None


def _lock(descriptor: int) -> bool:
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < ATTEMPTS:
                time.sleep(BACK_OFF_SECONDS)
        else:
            return True
    return False


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
