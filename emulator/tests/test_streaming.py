"""Streamed answers through the data plane: nothing is held back, slow readers, long streams, and
what ends a stream.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from compute_emulator.traffic.body_stream import HIGH_WATER, BodyStream
from compute_emulator.traffic.http import BadMessage, Reader, Request
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import SERVICES, LoadBalancer, load_balancer, until
from emulator.tests.test_route_actions import act, put_without_backends, set_traffic

LONG = 3600
"""Seconds: a stream that does not end by itself during a test."""


@contextmanager
def streaming(
    balancer: LoadBalancer, seconds: float, interval: float = 0.02, size: int = 0
) -> Iterator[requests.Response]:
    headers = {
        "x-stream-seconds": str(seconds),
        "x-stream-interval-seconds": str(interval),
        "x-stream-bytes": str(size),
    }
    with requests.get(
        balancer.url + "/v1/chat", headers=headers, stream=True, timeout=60
    ) as response:
        yield response


def numbers(response: requests.Response) -> Iterator[int]:
    for line in response.iter_lines(chunk_size=1):
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))["n"]


def in_flight(balancer: LoadBalancer, service: str = "bs") -> int:
    return sum(each["in_flight"] for each in balancer.service_instances(service))


def allow_long_streams(balancer: LoadBalancer) -> None:
    balancer.change_service(timeout_sec=LONG)


def test_each_event_arrives_when_it_is_sent(balancer: LoadBalancer) -> None:
    with streaming(balancer, seconds=0.6, interval=0.2) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in response.headers
        arrived, began = [], time.monotonic()
        for number in numbers(response):
            arrived.append((number, time.monotonic() - began))
    assert [number for number, _ in arrived] == [0, 1, 2]
    assert arrived[0][1] < 0.15
    assert arrived[2][1] >= 0.35


def test_a_stream_ends_as_llm_servers_end_theirs_and_keeps_the_connection(
    balancer: LoadBalancer,
) -> None:
    with requests.Session() as session:
        for _ in range(2):
            response = session.get(balancer.url, headers={"x-stream-seconds": "0.1"}, timeout=30)
            assert response.text.endswith("data: [DONE]\n\n")
            assert response.headers["connection"] == "keep-alive"
    until(lambda: in_flight(balancer) == 0)


def test_an_http_1_0_client_gets_a_stream_up_to_the_end_of_the_connection(
    balancer: LoadBalancer,
) -> None:
    port = urlsplit(balancer.url).port
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.0\r\nx-stream-seconds: 0.1\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.endswith(b"}\n\ndata: [DONE]\n\n")


def test_instances_stream_by_their_profile(balancer: LoadBalancer) -> None:
    set_traffic(balancer, {"stream_seconds": 0.2, "stream_interval_seconds": 0.05})
    assert balancer.get().text.count("data: {") == 4


def test_a_slow_reader_slows_the_instance_down_and_nothing_is_lost(
    balancer: LoadBalancer,
) -> None:
    allow_long_streams(balancer)
    size, count = 65_536, 400
    with streaming(balancer, seconds=count * 0.001, interval=0.001, size=size) as response:
        time.sleep(1.5)  # the instance would have sent all 25 MiB by now
        assert in_flight(balancer) == 1
        body = b"".join(response.iter_content(65_536))
        assert len(body) > count * size
        events = [line[6:] for line in body.split(b"\n\n") if line.startswith(b"data: {")]
        assert [json.loads(each)["n"] for each in events] == list(range(count))
    until(lambda: in_flight(balancer) == 0)


def test_a_client_that_leaves_ends_its_stream_on_the_instance(balancer: LoadBalancer) -> None:
    allow_long_streams(balancer)
    with streaming(balancer, seconds=LONG) as response:
        assert next(numbers(response)) == 0
        assert in_flight(balancer) == 1
    until(lambda: in_flight(balancer) == 0)


def test_a_stream_is_counted_once_when_it_has_ended(balancer: LoadBalancer) -> None:
    with streaming(balancer, seconds=0.3) as response:
        assert sum(balancer.plane.metrics.requests.values()) == 0
        list(numbers(response))
    until(lambda: sum(balancer.plane.metrics.requests.values()) == 1)
    (histogram,) = balancer.plane.metrics.durations.values()
    assert histogram.total >= 0.3


def test_a_running_stream_survives_a_change_of_weights(balancer: LoadBalancer) -> None:
    allow_long_streams(balancer)
    balancer.second()
    with streaming(balancer, seconds=LONG) as response:
        events = numbers(response)
        first = next(events)
        balancer.route(default_service=SERVICES + "bs2")
        assert balancer.releases(10) == {"v2": 10}
        assert [next(events) for _ in range(20)][-1] == first + 20


def test_a_stream_ends_by_the_draining_timeout_when_its_instance_leaves(
    balancer: LoadBalancer,
) -> None:
    """Source: load-balancing/docs/enabling-connection-draining."""
    allow_long_streams(balancer)
    with streaming(balancer, seconds=LONG) as response:
        events = numbers(response)
        next(events)
        balancer.fleet.resize(0)
        balancer.fleet.run(25)  # of 30 s
        balancer.plane.refresh()
        for _ in range(20):
            next(events)
        balancer.fleet.run(20)
        balancer.plane.refresh()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(events)


def test_a_stream_is_cut_when_its_backend_is_removed_from_the_service(
    balancer: LoadBalancer,
) -> None:
    """Draining is for instances that leave their group. Source:
    load-balancing/docs/enabling-connection-draining, as of 2026.
    """
    allow_long_streams(balancer)
    with streaming(balancer, seconds=LONG) as response:
        events = numbers(response)
        next(events)
        put_without_backends(balancer)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(events)


def test_a_stream_is_cut_when_its_app_dies(balancer: LoadBalancer) -> None:
    allow_long_streams(balancer)
    with streaming(balancer, seconds=LONG) as response:
        events = numbers(response)
        next(events)
        apply_effect(balancer.cloud, "kill")
        balancer.plane.refresh()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(events)


def test_the_backend_timeout_limits_the_whole_stream(balancer: LoadBalancer) -> None:
    """Not the time to its head alone. Source: Compute API reference, HttpRouteAction.timeout: "up
    until the response has been processed"; load-balancing/docs/backend-service, timeout.
    """
    balancer.change_service(timeout_sec=1)
    began = time.monotonic()
    with streaming(balancer, seconds=LONG) as response:
        assert response.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(numbers(response))
    assert 0.9 <= time.monotonic() - began < 10
    until(lambda: in_flight(balancer) == 0)


def test_the_timeout_of_a_try_ends_with_the_head_of_the_response(balancer: LoadBalancer) -> None:
    retry = compute_v1.HttpRetryPolicy(
        num_retries=1, per_try_timeout={"nanos": 200_000_000}, retry_conditions=["5xx"]
    )
    act(balancer, retry_policy=retry)
    with streaming(balancer, seconds=0.6) as response:
        assert len(list(numbers(response))) == 30


def test_a_mirrored_stream_is_read_to_its_end(balancer: LoadBalancer) -> None:
    balancer.second()
    act(
        balancer,
        request_mirror_policy=compute_v1.RequestMirrorPolicy(backend_service=SERVICES + "bs2"),
    )
    with streaming(balancer, seconds=0.2) as response:
        list(numbers(response))
    until(lambda: sum(each["requests"] for each in balancer.service_instances("bs2")) == 1)
    until(lambda: in_flight(balancer, "bs2") == 0)


def test_many_streams_run_at_once(balancer: LoadBalancer) -> None:
    done: list[int] = []

    def read() -> None:
        with streaming(balancer, seconds=1.0, interval=0.05) as response:
            done.append(len(list(numbers(response))))

    threads = [threading.Thread(target=read) for _ in range(24)]
    began = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert done == [20] * 24
    assert time.monotonic() - began < 12


def test_a_websocket_upgrade_is_refused_in_words(balancer: LoadBalancer) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    refused = balancer.get("/chat", headers=upgrade)
    assert refused.status_code == 501
    assert "WebSocket" in refused.text
    assert balancer.get(headers={"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c"}).ok


def test_a_stream_is_cut_with_its_instance_without_draining(fleet: Fleet) -> None:
    with load_balancer(fleet, drain=0) as balancer:
        allow_long_streams(balancer)
        with streaming(balancer, seconds=LONG) as response:
            events = numbers(response)
            next(events)
            fleet.resize(0)
            fleet.run(11)
            balancer.plane.refresh()
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(events)


def parts_of(pieces: list[bytes]) -> tuple[int | None, bytes]:
    """The announced length and the body of a response that arrives in pieces."""
    reader, stream, parts, is_end = Reader(), None, b"", False
    for piece in pieces:
        reader.feed(piece)
        if stream is None:
            response = reader.response_start()
            if response is None:
                continue
            stream = response.stream
            assert stream is not None
        part, is_end = reader.body_part()
        parts += part
    assert stream is not None
    assert is_end
    return stream.length, parts


@pytest.mark.parametrize("step", [1, 2, 3, 7, 20])
def test_a_streamed_body_is_the_same_however_it_is_cut(step: int) -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n"
    )
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nabc0123456789"
    for message, length in ((chunked, None), (plain, 13)):
        pieces = [message[at : at + step] for at in range(0, len(message), step)]
        assert parts_of(pieces) == (length, b"abc0123456789")


@pytest.mark.parametrize("body", [b"zz\r\n", b"2\r\nabc\r\n", b"x" * 70_000])
def test_a_malformed_chunk_breaks_the_stream(body: bytes) -> None:
    reader = Reader()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
    assert reader.response_start() is not None
    reader.feed(b"a\r\n" + body)
    with pytest.raises(BadMessage):
        reader.body_part()


class Valve:
    """A source that records how it is driven."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def abort(self) -> None:
        self.calls.append("abort")


def test_a_full_buffer_pauses_the_source_until_it_is_read() -> None:
    stream, valve = BodyStream(), Valve()
    stream.source = valve
    stream.feed(b"x" * HIGH_WATER)
    assert valve.calls == []
    stream.feed(b"x")
    stream.feed(b"x")
    assert valve.calls == ["pause"]
    stream.end()
    assert valve.calls == ["pause", "resume", "abort"]


def test_the_head_of_a_stream_suits_the_client() -> None:
    reader = Reader()
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
    response = reader.response_start()
    assert response is not None
    head, is_chunked = response.head_for(Request("GET", "/"))
    assert (b"content-length: 5" in head, is_chunked) == (True, False)
