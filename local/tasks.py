"""Serves the part of Cloud Tasks that Slipway uses: `POST /v2/QUEUE/tasks` creates a task that
publishes a message later.

Used by the local stack with Google's emulators. Times are those of the given clock, which may run
faster than real time. A name is never free again.
"""

from __future__ import annotations

import base64
import heapq
import json
import logging
import re
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import ThreadingHTTPServer
from typing import Any

from local.json_handler import JsonHandler
from local.pace import Clock

Publish = Callable[[str, bytes], object]
_PATH = re.compile(r"/v2/projects/[^/]+/locations/[^/]+/queues/[^/]+/tasks")
_TOPIC = re.compile(r".*/topics/([^/:]+):publish")
LOG = logging.getLogger("local.tasks")


class TaskQueue:
    """Listens on loopback from `start` to `stop`, on a free port."""

    def __init__(self, clock: Clock, publish: Publish) -> None:
        self._clock, self._publish = clock, publish
        self._names: set[str] = set()
        self._waiting: list[tuple[datetime, str, str, bytes]] = []  # a heap
        self._changed = threading.Condition()
        self._stopping = False
        handler = type("Handler", (_Handler,), {"create": self.create})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="tasks-api", daemon=True),
            threading.Thread(target=self._run, name="tasks", daemon=True),
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def create(self, task: dict[str, Any]) -> bool:
        """False if the name was used before."""
        request = task["httpRequest"]
        topic = _TOPIC.fullmatch(request["url"])
        if topic is None:
            raise ValueError("the URL must publish to a topic")
        [message] = json.loads(base64.b64decode(request["body"]))["messages"]
        at, name = datetime.fromisoformat(task["scheduleTime"]), task["name"]
        with self._changed:
            if name in self._names:
                return False
            self._names.add(name)
            data = base64.b64decode(message["data"])
            heapq.heappush(self._waiting, (at, name, topic[1], data))
            self._changed.notify_all()
        return True

    def _run(self) -> None:
        while due := self._next_due():
            _, name, topic, data = due
            try:
                self._publish(topic, data)
            except Exception as error:
                LOG.warning("task %s failed: %s", name, error)

    def _next_due(self) -> tuple[datetime, str, str, bytes] | None:
        with self._changed:
            while not self._stopping:
                if self._waiting and self._waiting[0][0] <= self._clock.now():
                    return heapq.heappop(self._waiting)
                self._changed.wait(0.05 if self._waiting else None)
        return None


class _Handler(JsonHandler):
    create: Callable[[dict[str, Any]], bool]

    def post(self, path: str, body: bytes) -> None:
        if not _PATH.fullmatch(path):
            self.answer(404, {"error": {"code": 404, "status": "NOT_FOUND"}})
            return
        try:
            task = json.loads(body)["task"]
            is_new = type(self).create(task)
        except Exception as error:  # the server survives any request
            self.answer(400, {"error": {"code": 400, "message": str(error)}})
            return
        self.answer(*((200, task) if is_new else (409, {"error": {"code": 409}})))
