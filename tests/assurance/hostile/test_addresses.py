"""Addresses that must not be fetched: the metadata server in every spelling, the machine itself,
other schemes.

The intake fetches nothing: `Intake` checks that handling an event opens no connection and looks up
no name. What instances fetch, and where gates are, must not be the metadata server in any spelling
of its address. A name that merely resolves to that address cannot be recognized; the instance's
service account limits what it can do, and the reconciler checks the address that it connects to
(`tests/infra/test_verdicts.py`).
"""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.assurance.hostile.intake import Intake, forbid_connections
from tests.assurance.hostile.shapes import with_value

FORMS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("addresses.json").read_text("utf-8")
)
HOSTS, SCHEMES, PATHS = FORMS["hosts"], FORMS["schemes"], FORMS["paths"]
LOOPBACK = ("127.", "localhost", "a.localhost")  # allowed: a registry on the machine itself


def test_there_are_enough_forms() -> None:
    assert len({*HOSTS, *SCHEMES, *PATHS}) >= 60


@pytest.mark.parametrize("host", HOSTS)
def test_weights_from_a_forbidden_host_are_refused(host: str) -> None:
    for uri in (f"https://{host}/x", f"https://{host}", f"https://{host}/computeMetadata/v1/"):
        assert (
            "artifact.weights" in Intake().deliver(with_value(("artifact", "weights"), uri)).why
        ), uri


@pytest.mark.parametrize("host", [host for host in HOSTS if not host.startswith(LOOPBACK)])
def test_an_image_from_a_forbidden_host_is_refused(host: str) -> None:
    """In an image's name, a part without a dot or port before the first slash is not a host:
    `metadata/x` is on Docker Hub.
    """
    if "." not in host and ":" not in host:
        return
    for reference in (f"{host}/x:1", f"{host}:80/x:1"):
        assert (
            "artifact.image" in Intake().deliver(with_value(("artifact", "image"), reference)).why
        ), reference


@pytest.mark.parametrize("uri", [*SCHEMES, *(f"https://{host}/x" for host in HOSTS)])
def test_a_gate_with_another_scheme_or_a_forbidden_host_is_refused(uri: str) -> None:
    gates = {"quality": {"url": uri}}
    why = Intake().deliver(with_value(("rollout", "gates"), gates)).why
    assert "rollout.gates.quality.url" in why
    assert "policy" not in why


@pytest.mark.parametrize("uri", SCHEMES)
def test_weights_with_another_scheme_are_refused(uri: str) -> None:
    assert "artifact.weights" in Intake().deliver(with_value(("artifact", "weights"), uri)).why


@pytest.mark.parametrize("field", ["readiness_path", "liveness_path"])
@pytest.mark.parametrize("path", PATHS)
def test_a_health_path_must_be_a_path(field: str, path: str) -> None:
    assert f"serving.{field}" in Intake().deliver(with_value(("serving", field), path)).why


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "metadata.google.internal.",
        "[::1]",
        "user@x",
        "a b",
        "a/b",
        "a:80",
        "*.example.com",
        "EXAMPLE.com",
        "-a.com",
        "a..b",
    ],
)
def test_a_route_s_host_must_be_a_plain_name(host: str) -> None:
    """An IP address is valid: requests are matched by it, and nothing is sent there."""
    why = Intake().deliver(with_value(("traffic", "host"), host)).why
    assert ("traffic.host" in why) == (host != "169.254.169.254")


@pytest.mark.parametrize(
    "name",
    [
        "https://169.254.169.254/x",
        "//metadata/x",
        "custom.googleapis.com",
        "x",
        "custom.googleapis.com/a b",
        "a.b/c?d=e",
    ],
)
def test_a_metric_s_name_must_not_be_an_address(name: str) -> None:
    assert (
        "scaling.metrics[0].name"
        in Intake().deliver(with_value(("scaling", "metrics", 0, "name"), name)).why
    )


def test_the_guard_detects_connections_lookups_and_processes() -> None:
    """A guard that detects nothing would pass everything."""
    with (
        pytest.raises(AssertionError, match=r"socket\.connect"),
        forbid_connections(),
        socket.socket() as one,
    ):
        one.connect_ex(("127.0.0.1", 9))
    with pytest.raises(AssertionError, match=r"socket\.getaddrinfo"), forbid_connections():
        socket.getaddrinfo("127.0.0.1", 9)
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"), forbid_connections():
        subprocess.run(["true"], check=True)
