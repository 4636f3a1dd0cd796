"""Google's Ansible modules, unmodified. They know no other address than Google's, so they reach the
emulator through a proxy.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_emulator import Cloud, ScaledClock, Server, serve
from emulator.tests import installed
from emulator.tests.tls_proxy import TlsProxy, tls_proxy

pytestmark = [pytest.mark.wide, pytest.mark.timeout(300)]
PLAYBOOK = Path(__file__).parent / "ansible" / "load_balancer.yml"
TOKEN = "ya29.not-checked-by-the-emulator"  # Ansible hides each occurrence of it in its output


@pytest.fixture
def server() -> Iterator[Server]:
    """Only operations of URL maps last: Ansible sleeps for a second before it asks again."""
    cloud = Cloud(
        clock=ScaledClock(600),
        operation_seconds_by_method={"compute.urlMaps.*": 10},
        check_responses=True,
    )
    with serve(cloud) as running:
        yield running


def run_playbook(ansible: Path, proxy: TlsProxy, folder: Path) -> dict[str, str]:
    """What became of each task: `changed`, `ok` or `fatal`."""
    certificate = folder / "certificate.pem"
    certificate.write_text(proxy.certificate)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(ansible / "collections"),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_LOCAL_TEMP": str(folder),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_REMOTE_TEMP": str(folder),
        "GCP_ACCESS_TOKEN": TOKEN,
        "GCP_AUTH_KIND": "accesstoken",
        "GCP_PROJECT": "demo",
        "HTTPS_PROXY": proxy.url,
        "REQUESTS_CA_BUNDLE": str(certificate),
    }
    done = subprocess.run(
        [
            *(str(ansible / "bin" / name) for name in ("python", "ansible-playbook")),
            *("--inventory", "localhost,", "--connection", "local"),
            *("--extra-vars", f"ansible_python_interpreter={ansible}/bin/python"),
            str(PLAYBOOK),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(re.findall(r"^TASK \[(.+?)\] \*+\n(\w+): ", done.stdout, re.MULTILINE))


def test_a_second_run_changes_nothing(server: Server, tmp_path: Path) -> None:
    ansible = installed.ansible()
    with tls_proxy(server.port) as proxy:
        first = run_playbook(ansible, proxy, tmp_path)
        assert len(first) == 12
        assert set(first.values()) == {"changed"}
        assert run_playbook(ansible, proxy, tmp_path) == dict.fromkeys(first, "ok")
