"""A server on this machine that answers for all of Google's REST APIs as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Reply = tuple[int, Any]
"""The status, and JSON or plain text."""
Answer = Callable[[str, Any], Reply]
"""From the path without its query, and the body of a POST."""


def error(status: int, message: str) -> Reply:
    return status, {"error": {"code": status, "message": message}}


@contextmanager
def google_apis(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            self._reply(json.loads(self.rfile.read(size)))

        def _reply(self, body: Any) -> None:
            status, content = answer(urlsplit(self.path).path, body)
            data = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data.encode())))
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}"
        finally:
            made.shutdown()


def metadata(path: str) -> Reply | None:
    """What the metadata server of an instance in us-central1 answers."""
    return {
        "/computeMetadata/v1/instance/region": (200, "projects/1/regions/us-central1"),
        "/computeMetadata/v1/instance/service-accounts/default/email": (200, "who@p.iam"),
    }.get(path)
