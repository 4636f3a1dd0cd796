"""Addresses that should not be asked: the metadata server in every spelling, this machine, other
schemes.

Slipway itself asks nobody: whatever an event names, nothing is connected to and nothing is looked
up while it is handled, which `Intake` holds every message to. What instances are told to fetch may
not be the metadata server in any spelling of its address. A name that only resolves to that address
cannot be told from any other; the machine's own identity is what limits it."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from tests.assurance.hostile.intake import Intake, connecting_nowhere
from tests.assurance.hostile.shapes import with_value

FORMS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("addresses.json").read_text("utf-8")
)
HOSTS, SCHEMES, PATHS = FORMS["hosts"], FORMS["schemes"], FORMS["paths"]
LOOPBACK = ("127.", "localhost", "a.localhost")  # where a registry on the machine itself may be


def test_there_are_enough_forms() -> None:
    assert len({*HOSTS, *SCHEMES, *PATHS}) >= 60


@pytest.mark.parametrize("host", HOSTS)
def test_weights_from_such_a_host_are_refused(host: str) -> None:
    for uri in (f"https://{host}/x", f"https://{host}", f"https://{host}/computeMetadata/v1/"):
        assert "artifact.weights" in Intake().take(with_value(("artifact", "weights"), uri)).why, (
            uri
        )


@pytest.mark.parametrize("host", [host for host in HOSTS if not host.startswith(LOOPBACK)])
def test_an_image_from_such_a_host_is_refused(host: str) -> None:
    """A name without a dot or port before the first slash is no host in an image's name:
    `metadata/x` is on Docker Hub."""
    if "." not in host and ":" not in host:
        return
    for reference in (f"{host}/x:1", f"{host}:80/x:1"):
        assert (
            "artifact.image" in Intake().take(with_value(("artifact", "image"), reference)).why
        ), reference


@pytest.mark.parametrize("uri", SCHEMES)
def test_weights_by_another_scheme_are_refused(uri: str) -> None:
    assert "artifact.weights" in Intake().take(with_value(("artifact", "weights"), uri)).why


@pytest.mark.parametrize("field", ["readiness_path", "liveness_path"])
@pytest.mark.parametrize("path", PATHS)
def test_a_health_path_is_a_path_and_nothing_else(field: str, path: str) -> None:
    assert f"serving.{field}" in Intake().take(with_value(("serving", field), path)).why


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
def test_a_route_s_host_is_a_plain_name(host: str) -> None:
    """An address is a legal one: it is what requests are matched by, and nothing is sent there."""
    why = Intake().take(with_value(("traffic", "host"), host)).why
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
def test_a_metric_s_name_is_no_address(name: str) -> None:
    assert (
        "scaling.metrics[0].name"
        in Intake().take(with_value(("scaling", "metrics", 0, "name"), name)).why
    )


def test_the_guard_hears_what_is_connected_to_looked_up_and_run() -> None:
    """A guard that hears nothing would pass everything."""
    with (
        pytest.raises(AssertionError, match=r"socket\.connect"),
        connecting_nowhere(),
        socket.socket() as one,
    ):
        one.connect_ex(("127.0.0.1", 9))
    with pytest.raises(AssertionError, match=r"socket\.getaddrinfo"), connecting_nowhere():
        socket.getaddrinfo("127.0.0.1", 9)
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"), connecting_nowhere():
        subprocess.run(["true"], check=True)
