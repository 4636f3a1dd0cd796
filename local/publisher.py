"""Serves the publish method of Pub/Sub's REST API: `POST /v1/projects/P/topics/T:publish`.

With it, `gcloud pubsub topics publish` works on a stack without Google's emulator. It implements no
other method.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import ThreadingHTTPServer

from local.json_handler import JsonHandler

Publish = Callable[[str, bytes, Mapping[str, str]], str]
_PATH = re.compile(r"/v1/projects/[^/]+/topics/([^/:]+):publish")


class Publisher:
    """Listens on loopback from `start` to `stop`, on a free port."""

    def __init__(self, publish: Publish) -> None:
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"publish": staticmethod(publish)})
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="publisher", daemon=True
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(JsonHandler):
    publish: Publish

    def post(self, path: str, body: bytes) -> None:
        topic = _PATH.fullmatch(path)
        if topic is None:
            self.answer(
                404,
                {
                    "error": {
                        "code": 404,
                        "status": "NOT_FOUND",
                        "message": "only topics/T:publish is supported",
                    }
                },
            )
            return
        try:
            messages = json.loads(body)["messages"]
            ids = [
                self.publish(
                    topic[1], base64.b64decode(m.get("data") or ""), m.get("attributes") or {}
                )
                for m in messages
            ]
        except Exception as error:  # the server survives any request
            self.answer(
                400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": str(error)}}
            )
            return
        self.answer(200, {"messageIds": ids})
