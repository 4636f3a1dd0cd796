"""Runs the deployment scripts through the shim, with a fault at a chosen call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path

from tests.deploy.commands import Answer, Call, Commands
from tests.deploy.shim import Shim
from tests.deploy.world import PROJECT, World


class Fault(Enum):
    """What happens to a call: nothing but its effect is certain."""

    REFUSED = "PERMISSION_DENIED, before the effect"
    BUSY = "429 once, before the effect"
    LOST = "503 once, after the effect"
    KILLED_BEFORE = "the script is killed before the effect"
    KILLED_AFTER = "the script is killed after the effect"


TEMPORARY = (Fault.BUSY, Fault.LOST)
_ERRORS = {
    Fault.REFUSED: "ERROR: (gcloud) PERMISSION_DENIED: The caller does not have permission\n",
    Fault.BUSY: "ERROR: (gcloud) RESOURCE_EXHAUSTED: Quota exceeded for quota metric\n",
    Fault.LOST: "ERROR: (gcloud) UNAVAILABLE: The service is currently unavailable.\n",
}


class Scripts:
    """`run("bootstrap.sh")` runs a script on a world. `fault_at` says which fault a call meets, by
    its number from 0; a repeated call has a number of its own.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.calls: list[Call] = []
        self.losses: list[str] = []
        """What would have lost messages."""
        self.fault_at: Callable[[int, Call], Fault | None] = lambda number, call: None
        self.before_call: Callable[[], None] = lambda: None
        self._commands = Commands(self._answer, folder, ("gcloud", "curl"))

    def run(self, command: str, **environment: str) -> Answer:
        self.calls = []
        name, _, options = command.partition(" ")
        done = self._commands.run(f"{name} --project={PROJECT} {options}", **environment)
        assert self.losses == []
        return done

    def close(self) -> None:
        self._commands.close()

    def _answer(self, call: Call) -> Answer:
        self.before_call()
        fault = self.fault_at(len(self.calls), call)
        self.calls.append(call)
        served = dict(functions(self.world))
        if call.program == "curl" and fault in _ERRORS:
            return self._curl(call, fault)
        if fault in (Fault.REFUSED, Fault.BUSY):
            return Answer(1, "", _ERRORS[fault])
        if fault is Fault.KILLED_BEFORE:
            return self._kill()
        answer = Shim(self.world)(call)
        self.losses += _losses(self.world, served)
        if fault is Fault.KILLED_AFTER:
            return self._kill()
        return Answer(1, "", _ERRORS[fault]) if fault else answer

    def _curl(self, call: Call, fault: Fault) -> Answer:
        """curl repeats by itself what is busy or lost, and prints the last status."""
        if fault is Fault.REFUSED:
            return Answer(0, "PERMISSION_DENIED\n403")
        if fault is Fault.LOST:
            Shim(self.world)(call)
        return Shim(self.world)(call)

    def _kill(self) -> Answer:
        assert self._commands.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._commands.process.pid, signal.SIGKILL)
        return Answer(1)


def _losses(world: World, served: Mapping[str, set[str]]) -> Iterator[str]:
    """A shell acknowledges every message: no function may become one, and nothing push to one. Nor
    may a service stop to answer.
    """
    serves = dict(functions(world))
    for name in served.keys() & world.services().keys() - serves.keys():
        yield f"{name} is no function any more"
    shells = [
        each["status"]["url"] for name, each in world.services().items() if name not in serves
    ]
    for name, each in world.subscriptions().items():
        endpoint = each.get("pushConfig", {}).get("pushEndpoint", "")
        if any(endpoint.startswith(url) for url in shells):
            yield f"{name} pushes to a shell"


def functions(world: World) -> Iterator[tuple[str, set[str]]]:
    """The services of which functions answer all requests, and the revisions that do."""
    for name, each in world.services().items():
        traffic = {
            part["revisionName"] for part in each["status"]["traffic"] if part.get("percent")
        }
        if traffic and not any(is_shell(world.image(revision)) for revision in traffic):
            yield name, traffic


def is_shell(image: str) -> bool:
    return image.endswith("/hello")
