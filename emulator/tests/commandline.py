"""Runs gcloud, unmodified, against a served emulator, and lists the supported commands.

A command runs in a fork of a process that has gcloud's modules loaded (`gcloud_host.py`).
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

MARKS = [
    pytest.mark.skipif(
        shutil.which("gcloud") is None and not os.environ.get("CI"),
        reason="gcloud is not installed",
    ),
]
GROUPS = "instance-groups managed"
SUPPORTED = {
    "instance-templates": "create list describe delete",
    GROUPS: (
        "create describe list update set-named-ports set-autoscaling stop-autoscaling resize"
        " list-instances list-errors recreate-instances delete"
    ),
    f"{GROUPS} rolling-action": "start-update replace restart stop-proactive-update",
    f"{GROUPS} wait-until": "--stable --version-target-reached",
    "health-checks": "create update list describe delete",
    "backend-services": "create add-backend update get-health list describe delete",
    "url-maps": "create add-path-matcher import export validate list describe delete",
    "target-http-proxies": "create update list describe delete",
    "forwarding-rules": "create set-target list describe delete",
    "addresses": "create list describe delete",
    "operations": "list describe",
    "regions": "list",
    "zones": "list",
    "machine-types": "list",
}
"""What `gcloud compute` is promised to do here. It has no `operations wait`: every command that
changes something waits."""


class Host:
    """The process in whose forks the commands run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["gcloud"],
            cwd=Path(__file__).parent,
            env=os.environ | {"CLOUDSDK_PYTHON_ARGS": "gcloud_host.py"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: list[str], environment: dict[str, str], out: Path, err: Path) -> int:
        """The exit code of a command that writes to these files."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, environment, str(out), str(err)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


class Commandline:
    """`gcloud("regions list")` returns the output; `fails=True` expects an error and returns
    that.
    """

    def __init__(self, host: Host, url: str, home: Path) -> None:
        self._host, self._home, self._numbers = host, home, itertools.count(1)
        self._environment = os.environ | {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{url}/compute/v1/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": "demo",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_CONFIG": str(home / "gcloud"),
        }

    def __call__(self, command: str, *, fails: bool = False, output_format: str = "json") -> str:
        """Return JSON, or with `output_format=""` the output for people."""
        form = [f"--format={output_format}"] if output_format else []
        number = next(self._numbers)
        out, err = (self._home / f"{number}.{name}" for name in ("out", "err"))
        code = self._host.run(
            ["compute", *shlex.split(command), *form], dict(self._environment), out, err
        )
        output, errors = out.read_text(), err.read_text()
        assert code == (1 if fails else 0), errors
        assert "crashed" not in errors
        return output + errors if fails else output
