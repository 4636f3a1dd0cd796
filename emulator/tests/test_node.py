"""Google's clients for Node, unmodified: @google-cloud/compute, and the part of googleapis for
Compute Engine, which is also published by itself and is a tenth of its size.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from compute_emulator import Server
from emulator.tests import installed

pytestmark = [pytest.mark.wide, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).parent / "node" / "load_balancer.mjs"


def test_googles_clients_create_read_change_and_delete(server: Server, tmp_path: Path) -> None:
    folder = installed.node()
    server.cloud.set_behaviours([{"boot_seconds": 1200}])  # two seconds, in which they are listed
    script = folder / SCRIPT.name  # Node looks for packages beside the script
    script.write_text(SCRIPT.read_text())
    done = subprocess.run(
        ["node", str(script), str(server.port)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "managed": {"CREATING": 3},
        "stable": True,
        "running": {"NONE": 3},
        "health": {"HEALTHY": 3},
        "backend": {"balancingMode": "UTILIZATION", "capacityScaler": 1},
        "services": ["web"],
        "weights": [90, 10],
        "refused": ["notFound", "resourceInUseByAnotherResource"],
        "googleapis": {"maps": ["web"], "description": "changed", "refused": "notFound"},
        "left": [],
    }
