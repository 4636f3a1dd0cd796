"""The HTTP server with any client: verbs, headers, bodies, persistent and broken connections,
concurrency.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build

from compute_emulator import Cloud, ScaledClock, Server, serve
from compute_emulator.api import request
from emulator.tests.clients import PROJECT

PATH = f"/compute/v1/projects/{PROJECT}"
CHECKS = f"{PATH}/global/healthChecks"


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(Cloud(clock=ScaledClock(60), operation_seconds=2, check_responses=True)) as running:
        yield running


def raw_response(server: Server, text: str) -> tuple[int, Any]:
    """The response to raw bytes, read until the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(text.replace("\n", "\r\n").encode())
        line.shutdown(socket.SHUT_WR)
        answered = b"".join(iter(lambda: line.recv(65536), b""))
    head, _, body = answered.partition(b"\r\n\r\n")
    assert b"application/json" in head
    return int(head.split()[1]), json.loads(body)


def reason(answer: Any) -> str:
    return str(answer["error"]["errors"][0]["reason"])


# Verbs and parameters


def test_head_is_get_without_a_body(server: Server) -> None:
    url = f"{server.url}{PATH}/zones/us-central1-a"
    with requests.Session() as session:
        head, get = session.head(url, timeout=10), session.get(url, timeout=10)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.content))
    assert requests.head(f"{server.url}{PATH}/zones/none", timeout=10).status_code == 404


@pytest.mark.parametrize("verb", ["OPTIONS", "TRACE", "PUT"])
def test_an_unknown_verb_is_rejected_in_the_apis_format(server: Server, verb: str) -> None:
    refused = requests.request(verb, f"{server.url}{PATH}/zones/us-central1-a", timeout=10)
    assert (refused.status_code, reason(refused.json())) == (405, "httpMethodNotAllowed")


def test_a_post_can_override_the_method(server: Server) -> None:
    url = f"{server.url}{CHECKS}"
    assert requests.post(url, json={"name": "hc", "type": "TCP"}, timeout=10).status_code == 200
    wait_for(server, "hc")
    found = requests.post(f"{url}/hc", headers={"X-HTTP-Method-Override": "get"}, timeout=10)
    assert found.json()["name"] == "hc"
    change = {"X-HTTP-Method-Override": "PATCH"}
    assert (
        requests.post(f"{url}/hc", json={"timeoutSec": 3}, headers=change, timeout=10).json()[
            "operationType"
        ]
        == "patch"
    )
    assert requests.get(f"{url}/hc", timeout=10).json()["timeoutSec"] == 3
    assert (
        requests.post(
            f"{url}/hc", headers={"X-HTTP-Method-Override": "BREW"}, timeout=10
        ).status_code
        == 400
    )


def wait_for(server: Server, name: str) -> None:
    with server.cloud.lock:
        assert server.cloud.changed.wait_for(
            lambda: not server.cloud.operations.busy_targets, timeout=30
        ), name


def test_googles_client_sends_a_url_too_long_for_get_as_a_form(server: Server) -> None:
    options = ClientOptions(api_endpoint=f"{server.url}/compute/v1/")
    expression = " OR ".join(
        f"(name = us-central1-{letter})" for letter in "abcdefghijklmnopqrstuvwxyz" * 4
    )
    with build(
        "compute",
        "v1",
        credentials=AnonymousCredentials(),
        client_options=options,
        static_discovery=True,
    ) as compute:
        request = compute.zones().list(project=PROJECT, filter=expression)
        assert len(request.uri) > 2048
        found = request.execute()["items"]
    assert [each["name"] for each in found] == [f"us-central1-{letter}" for letter in "abcf"]


def test_responses_are_json_and_indented_on_request(server: Server) -> None:
    url = f"{server.url}{PATH}/zones/us-central1-a"
    plain = requests.get(f"{url}?alt=json&key=x&quotaUser=me", timeout=10)
    pretty = requests.get(f"{url}?prettyPrint=true", timeout=10)
    assert plain.json() == pretty.json()
    assert (plain.text.count("\n"), pretty.text.count("\n")) == (0, len(plain.json()) + 2)
    for query in ("alt=proto", "alt=xml", "$alt=media"):
        refused = requests.get(f"{url}?{query}", timeout=10)
        assert (refused.status_code, reason(refused.json())) == (400, "invalid")


# Bodies


def test_a_body_can_be_gzipped_or_chunked_on_one_connection(server: Server) -> None:
    with requests.Session() as session:
        packed = gzip.compress(json.dumps({"name": "packed", "type": "TCP"}).encode())
        url = f"{server.url}{CHECKS}"
        assert (
            session.post(
                url, data=packed, headers={"Content-Encoding": "gzip"}, timeout=10
            ).status_code
            == 200
        )
        pieces = iter([b'{"name": "pieces",', b"", b'"type": "TCP"}'])
        assert (
            session.post(url, data=(each for each in pieces if each), timeout=10).status_code == 200
        )
        found = [each["name"] for each in session.get(url, timeout=10).json()["items"]]
    assert found == ["packed", "pieces"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"{", {}, 400, id="not-closed"),
        pytest.param(
            b'{"name": "hc", "type": "TCP", "timeoutSec": NaN}', {}, 400, id="not-a-number"
        ),
        pytest.param(b'{"name": "h\xff", "type": "TCP"}', {}, 400, id="not-utf-8"),
        pytest.param(b"[" * 100_000, {}, 400, id="too-deep"),
        pytest.param(b"null", {}, 400, id="null"),
        pytest.param(b"no gzip", {"Content-Encoding": "gzip"}, 400, id="not-gzip"),
        pytest.param(
            gzip.compress(b'{"name": "hc"}')[:-6],
            {"Content-Encoding": "gzip"},
            400,
            id="gzip-cut-short",
        ),
        pytest.param(b"{}", {"Content-Encoding": "br"}, 415, id="not-a-known-encoding"),
    ],
)
def test_an_unreadable_body_is_rejected_and_creates_nothing(
    server: Server, body: bytes, headers: dict[str, str], status: int
) -> None:
    refused = requests.post(f"{server.url}{CHECKS}", data=body, headers=headers, timeout=10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, status)
    assert "items" not in requests.get(f"{server.url}{CHECKS}", timeout=10).json()


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_that_is_too_large_is_rejected_compressed_or_not(
    server: Server, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(request, "LARGEST_BODY", 1000)
    for size, status in ((900, 200), (1001, 413)):
        body = json.dumps({"name": f"hc-{size}", "type": "TCP"}).encode().ljust(size)
        sent, headers = (
            (gzip.compress(body), {"Content-Encoding": "gzip"}) if packed else (body, {})
        )
        assert (
            requests.post(
                f"{server.url}{CHECKS}", data=sent, headers=headers, timeout=10
            ).status_code
            == status
        )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "many"])
def test_numbers_must_be_finite(server: Server, number: str) -> None:
    body = (
        '{"name": "a", "autoscalingPolicy": {"cpuUtilization": {"utilizationTarget":'
        f' "{number}"}}}}}}'
    )
    refused = requests.post(
        f"{server.url}{PATH}/regions/us-central1/autoscalers", data=body, timeout=10
    )
    assert refused.status_code == 400
    assert "utilizationTarget' (TYPE_DOUBLE)" in refused.json()["error"]["message"]


def test_a_large_body_is_accepted(server: Server) -> None:
    body = {"name": "um", "description": "x" * 5_000_000}
    refused = requests.post(f"{server.url}{PATH}/global/urlMaps", json=body, timeout=30)
    assert refused.status_code == 400
    assert "defaultService" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("POST {0} HTTP/1.1\nHost: x\nContent-Length: -5\n\n{}", 400),
        ("POST {0} HTTP/1.1\nHost: x\nContent-Length: many\n\n{}", 400),
        ("POST {0} HTTP/1.1\nHost: x\nContent-Length: 99999999999\n\n{}", 413),
        ("POST {0} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nzz\n{}", 400),
        ("POST {0} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nfffffffff\n{}", 413),
        ("BREW {0} HTTP/1.1\nHost: x\n\n", 501),
        ("hello\n\n", 400),
        ("GET http://[x HTTP/1.1\nHost: x\nConnection: close\n\n", 400),
    ],
)
def test_malformed_http_is_rejected_in_json(server: Server, text: str, status: int) -> None:
    assert raw_response(server, text.replace("{0}", CHECKS))[0] == status


# Connections and clients


def test_a_connection_is_kept_after_errors(server: Server) -> None:
    line = HTTPConnection("127.0.0.1", server.port, timeout=10)
    line.connect()
    opened = line.sock
    for verb, path, body in (
        ("GET", f"{PATH}/zones/none", None),
        ("OPTIONS", f"{PATH}/zones", None),
        ("POST", CHECKS, b"{"),
        ("POST", CHECKS, iter([b"[", b"]"])),
        ("HEAD", f"{PATH}/zones", None),
        ("GET", "/control/none", None),
    ):
        line.request(verb, path, body)
        answered = line.getresponse()
        assert answered.read() or verb == "HEAD"
        assert line.sock is opened, (verb, path)
    line.close()


def test_a_client_that_waits_for_an_operation_blocks_no_other() -> None:
    with serve(Cloud()) as server:
        server.cloud.faults.add("operation_never_ends", "compute.healthChecks.insert")
        name = requests.post(
            f"{server.url}{CHECKS}", json={"name": "hc", "type": "TCP"}, timeout=10
        ).json()["name"]
        ended: list[str] = []

        def wait() -> None:
            answered = requests.post(
                f"{server.url}{PATH}/global/operations/{name}/wait", timeout=60
            )
            ended.append(answered.json()["status"])

        waiting = threading.Thread(target=wait)
        waiting.start()
        for _ in range(20):
            assert (
                requests.get(f"{server.url}{PATH}/zones/us-central1-a", timeout=10).status_code
                == 200
            )
        assert waiting.is_alive()
        with server.cloud.lock:
            server.cloud.operations.finish(("global", name))
        waiting.join(timeout=30)
    assert ended == ["DONE"]


def test_one_of_many_clients_that_create_a_resource_at_once_succeeds(server: Server) -> None:
    made: list[int] = []

    def make() -> None:
        body = {"name": "hc", "type": "TCP"}
        made.append(requests.post(f"{server.url}{CHECKS}", json=body, timeout=30).status_code)

    threads = [threading.Thread(target=make) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [200] + [409] * 19


def test_a_client_that_disconnects_is_not_an_error(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.INFO)
    for text in (
        f"GET {CHECKS}",
        f"POST {CHECKS} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{",
        "GET / HTTP/1.1\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
            line.sendall(text.encode())
    assert requests.get(f"{server.url}{PATH}/zones/us-central1-a", timeout=10).status_code == 200
    assert not re.search("Traceback|failed", caplog.text + capfd.readouterr().err)


def test_an_invalid_part_of_a_batch_does_not_affect_the_others(server: Server) -> None:
    server.cloud.faults.add("latency", "compute.zones.get", seconds=60)
    good = f"GET {PATH}/zones/us-central1-a HTTP/1.1\r\n\r\n"
    body = (
        "".join(
            f"--cut\r\nContent-Type: application/http\r\n\r\n{part}\r\n"
            for part in ("", "what?", good)
        )
        + "--cut--"
    )
    headers = {"Content-Type": 'multipart/mixed; boundary="cut"'}
    before = time.monotonic()
    answered = requests.post(
        f"{server.url}/batch/compute/v1", data=body, headers=headers, timeout=30
    )
    assert re.findall(r"HTTP/1.1 (\d+)", answered.text) == ["400", "400", "200"]
    assert time.monotonic() - before >= 1.0  # latency applies in a batch too
