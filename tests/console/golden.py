"""What each command that reads writes, at stored moments: `golden.txt`.

The moments are those of `tests/assurance/golden`, so that neither a scenario nor a decision changes
the text. `python -m tests.console.golden` writes the file anew; look at the difference.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from console.connect import Connection
from infra.identity.record import LAST_TICK
from infra.store.port import Put, Store
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from tests.assurance.golden import histories
from tests.console.terminal import run

FILE = Path(__file__).parent / "golden.txt"
MOMENTS = {
    "rollout-step_2": (
        ("status",),
        ("status", "tiny"),
        ("models",),
        ("why", "tiny"),
        ("doctor",),
        ("status", "tiny", "--output", "json"),
    ),
    "rolling-back-unhealthy": (
        ("status", "tiny"),
        ("history", "tiny"),
        ("why", "tiny"),
        ("why", "tiny", "2", "--output", "json"),
        ("events", "--no-follow"),
        ("quarantine", "list"),
        ("quarantine", "show", "1234567890"),
    ),
    "paused": (("status",), ("status", "tiny")),
}


class StoppedClock:
    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing is waited for")


def text() -> str:
    parts = []
    for name, commands in MOMENTS.items():
        parts.append(f"=== {name}\n")
        history = histories.load(next(histories.FOLDER.glob(f"v*/{name}.json")))
        connection = _connection(history)
        parts += [_output(connection, arguments) for arguments in commands]
    return "\n".join(parts)


def _output(connection: Connection, arguments: tuple[str, ...]) -> str:
    result = run(lambda project: connection, *arguments)
    lines = [line.rstrip() for line in (result.out + result.notes).splitlines()]
    return "\n".join((f"$ slipway {' '.join(arguments)}", *lines, ""))


def _connection(history: dict[str, Any]) -> Connection:
    documents = histories.restore_times(history)
    at = datetime.fromisoformat(history["at"][histories.TIME])
    store = SqliteStore(":memory:")
    store.commit(*(Put(path, data) for path, data in documents.items()))
    _write_log(store, at)
    world = World(StoppedClock(at), lambda: store, _nothing, _nothing)
    return Connection(world, "demo", "project demo")


def _nothing() -> Any:
    raise AssertionError("commands that read need only the store")


def _write_log(store: Store, at: datetime) -> None:
    """A log and a refused message, which the moments lack."""
    problems = [
        'scaling.min: must be an integer from 0 to 2000, got "lots"',
        "scaling.mx: is not a known field; did you mean max?",
    ]
    about = {"model": "tiny", "version": "3", "problems": problems}
    message = (
        b'{"model": "tiny", "version": "3", "scaling": {"min": "lots", "mx": {"hidden": true}}}'
    )
    raw = {"size": 72, "raw": base64.b64encode(message).decode()}
    refused = about | raw | {"why": "; ".join(problems), "at": at}
    entry = {"model": "tiny", "release": "2", "at": at, "generation": 2, "outputs": {}}
    entries: tuple[dict[str, Any], ...] = (
        {"from": "published", "to": "desired", "why": "release 2 was published by ann"},
        {
            "from": "settled",
            "to": "step_1",
            "why": "release 1 serves; step 1 of 3 asks for 10 % on release 2",
            "evidence": ["3 of 3 instances of release 1 are healthy"],
        },
        {
            "from": "step_1",
            "to": "rolling_back",
            "why": "0 of 1 instances of release 2 are healthy, for 10 min; rolls back to release 1",
            "reason": "unhealthy",
            "evidence": ["0 of 1 instances of release 2 are healthy"],
        },
    )
    log = (
        Put(f"models/tiny/log/{number:08d}-0", entry | each)
        for number, each in enumerate(entries, start=1)
    )
    tick = Put(LAST_TICK, {"at": at - timedelta(seconds=20), "failed": []})
    store.commit(Put("quarantine/1234567890", refused), tick, *log)


if __name__ == "__main__":
    FILE.write_text(text())
