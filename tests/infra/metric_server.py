"""Servers that answer like a source of metrics, or as no server should."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infra.metrics.port import Series

Reply = tuple[int, bytes]


@contextmanager
def server(reply: Callable[[str], Reply]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = reply(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}"
        finally:
            made.shutdown()


@contextmanager
def raw_server(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that speaks as no HTTP server does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                speak(connection)

        threading.Thread(target=run, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class FakePrometheus:
    """Answers range selectors from its series as Prometheus does; `values` are the answers to all
    other queries, as (labels, [(moment, value)]).
    """

    series: list[Series] = field(default_factory=list)
    values: Sequence[tuple[dict[str, str], Sequence[tuple[float, float]]]] = field(
        default_factory=list
    )
    more: dict[str, Any] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def reply(self, path: str) -> Reply:
        self.paths.append(path)
        given = parse_qs(urlsplit(path).query)
        if "/labels" in path:
            metric = given["match[]"][0]
            found = [each.labels for each in self.series if each.labels["__name__"] == metric]
            return self._success(sorted({label for each in found for label in each}))
        if "/query_range" in path:
            return self._matrix(self.values)
        selected = re.fullmatch(r"([a-zA-Z_:0-9]+)\{(.*)\}\[(\d+)s\]", given["query"][0])
        assert selected, given
        end = float(given["time"][0])
        return self._matrix(self._select(selected[1], selected[2], end - int(selected[3]), end))

    def _select(self, metric: str, matchers: str, start: float, end: float) -> list[Any]:
        pairs = re.findall(r'([a-zA-Z_]+)(=~|=)"((?:[^"\\]|\\.)*)"', matchers)
        found = []
        for each in self.series:
            labels = each.labels
            if labels["__name__"] == metric and all(
                re.fullmatch(value.replace("\\\\", "\\"), labels.get(label, ""))
                for label, _, value in pairs
            ):
                samples = [(at, value) for at, value in each.samples if start < at <= end]
                if samples:
                    found.append((dict(labels), samples))
        return found

    def _matrix(self, found: Sequence[tuple[dict[str, str], Any]]) -> Reply:
        result = [
            {"metric": labels, "values": [[at, _text(value)] for at, value in samples]}
            for labels, samples in found
        ]
        return self._success({"resultType": "matrix", "result": result})

    def _success(self, data: Any) -> Reply:
        return 200, json.dumps({"status": "success", "data": data} | self.more).encode()


def _text(value: float) -> str:
    return {"nan": "NaN", "inf": "+Inf"}.get(str(value), repr(value))
