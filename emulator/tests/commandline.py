"""Runs gcloud, unmodified, against a served emulator, and lists the supported commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

MARKS = [
    pytest.mark.wide,
    pytest.mark.skipif(
        shutil.which("gcloud") is None and not os.environ.get("CI"),
        reason="gcloud is not installed",
    ),
    pytest.mark.timeout(600),  # every command starts a Python interpreter
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


class Commandline:
    """`gcloud("regions list")` returns the output; `fails=True` expects an error and returns
    that.
    """

    def __init__(self, url: str, home: Path) -> None:
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
        done = subprocess.run(
            ["gcloud", "compute", *shlex.split(command), *form],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (1 if fails else 0), done.stderr
        assert "crashed" not in done.stderr
        return done.stdout + done.stderr if fails else done.stdout
