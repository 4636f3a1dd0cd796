"""Answers commands with the real gcloud against the imitation, each in a fork of one process."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from emulator.tests.commandline import Host
from tests.deploy.commands import Answer, Call
from tests.deploy.imitation import Imitation
from tests.deploy.world import PROJECT


class Gcloud:
    """Called with a command; `seconds` has what each took."""

    def __init__(self, host: Host, imitation: Imitation, home: Path) -> None:
        self._host, self._home, self._numbers = host, home, itertools.count(1)
        self._environment = dict(os.environ) | imitation.environment(home)

    def __call__(self, call: Call) -> Answer:
        number = next(self._numbers)
        given, out, err = (self._home / f"{number}.{name}" for name in ("in", "out", "err"))
        given.write_text(call.input)
        environment = self._environment | {
            "GCLOUD_DIRECTORY": call.directory,
            "GCLOUD_INPUT": str(given),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
        }
        code = self._host.run(call.arguments, environment, out, err)
        return Answer(code, out.read_text(), err.read_text())
