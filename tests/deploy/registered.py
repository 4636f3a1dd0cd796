"""Runs the Pulumi program under Pulumi's mocks and prints what it registers, as JSON.

Runs in the environment of `make pulumi`. Usage: registered.py CONFIG, a JSON object.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

PROGRAM = Path(__file__).parents[2] / "deploy/pulumi"


class Answers(Mocks):  # type: ignore[misc]
    """A new resource has the outputs that it was given as inputs."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return args.name, args.inputs

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program looks nothing up, but called {args.token}")


class Recorder(MockMonitor):  # type: ignore[misc]
    """Keeps each request with its options, which mocks do not get."""

    def __init__(self) -> None:
        super().__init__(Answers())
        self.registered: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        self.registered.append(
            {
                "type": request.type,
                "name": request.name,
                "inputs": MessageToDict(request.object),
                "protect": request.protect,
                "ignored": list(request.ignoreChanges),
                "needs": [name.rpartition("::")[2] for name in request.dependencies],
            }
        )
        return super().RegisterResource(request)


def main() -> None:
    config = json.loads(sys.argv[1])
    recorder = Recorder()
    pulumi.runtime.set_mocks(Answers(), project="slipway", stack="test", monitor=recorder)
    pulumi.runtime.set_all_config({f"slipway:{key}": each for key, each in config.items()})
    sys.path.insert(0, str(PROGRAM))
    pulumi.runtime.test(lambda: runpy.run_path(str(PROGRAM / "__main__.py")))()
    json.dump(recorder.registered, sys.stdout)


if __name__ == "__main__":
    main()
