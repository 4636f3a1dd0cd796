"""The emulator on a socket: a threaded HTTP server with keep-alive, and a ticker that runs due
events between requests.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from compute_emulator.api import wire
from compute_emulator.api.request import MalformedRequest, Request, read_body
from compute_emulator.control import dispatch
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import BadRequest, ConnectionDropped

LOG = logging.getLogger("compute_emulator")
IDLE_SECONDS = 1.0


class Server:
    """Serves a cloud on an IPv4 address until stopped. A context manager; port 0 asks the system
    for a free port.
    """

    def __init__(self, cloud: Cloud, port: int = 0, host: str = "127.0.0.1") -> None:
        self.cloud = cloud
        self._host = host
        handler = type("Handler", (_Handler,), {"cloud": cloud})
        self._http = _Http((host, port), handler)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Without a path or a trailing slash, as `api_endpoint` expects it."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "localhost", "") else self._host
        return f"http://{host}:{self.port}"

    def start(self) -> Server:
        """Does nothing if the server already runs."""
        if self._threads:
            return self
        for run in (self._serve, self._tick):
            thread = threading.Thread(target=run, daemon=True, name=f"compute{run.__name__}")
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        self._stopping.set()
        with self.cloud.lock:
            self.cloud.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join(timeout=5)

    def join(self) -> None:
        """Serve until the process is interrupted."""
        self._stopping.wait()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        self._http.serve_forever(poll_interval=0.1)

    def _tick(self) -> None:
        """Run events when they are due, so that the emulator acts without requests."""
        cloud = self.cloud
        with cloud.lock:
            while not self._stopping.is_set():
                try:
                    cloud.advance()
                except Exception:  # a failed event must not stop the others
                    LOG.exception("an event failed")
                upcoming = cloud.next_event_at()
                pause = IDLE_SECONDS
                if upcoming is not None and cloud.clock.speed:
                    pause = min(pause, max(0.0, upcoming - cloud.now()) / cloud.clock.speed)
                cloud.changed.wait(pause)


def serve(cloud: Cloud, port: int = 0, host: str = "127.0.0.1") -> Server:
    """Start serving a cloud and return at once; `Server.stop` ends it."""
    return Server(cloud, port, host).start()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes its connection is not an error."""
        if isinstance(sys.exc_info()[1], ConnectionError):
            LOG.debug("%s went away", client_address)
        else:
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept open. Each response goes out in one write, so that nothing waits for
    an acknowledgement.
    """

    cloud: Cloud
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _respond(self) -> None:
        try:
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = dispatch.handle(
                self.cloud,
                Request(self.command, self.path, read_body(self.rfile, headers), headers),
            )
        except ConnectionDropped:
            self.close_connection = True
            return
        except MalformedRequest as error:  # the start of the next request is unknown
            self.close_connection = True
            response = wire.error_response(error)
        except ConnectionError:
            raise
        except Exception as error:  # report internal errors to the caller and keep serving
            LOG.exception("failed on %s %s", self.command, self.path)
            response = wire.internal_error_response(error)
        if response.delay_seconds and self.cloud.clock.speed:
            time.sleep(response.delay_seconds / self.cloud.clock.speed)
        self._send(response)

    def _send(self, response: wire.Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815 - named by http.server
    do_HEAD = do_OPTIONS = do_TRACE = _respond  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP in the API's format rather than in HTML."""
        self.close_connection = True
        self.command, self.request_version = (
            getattr(self, "command", None) or "",
            self.protocol_version,
        )
        self._send(
            wire.error_response(
                BadRequest(message or "The request cannot be read.", status=int(code))
            )
        )

    def log_message(self, format: str, *args: object) -> None:
        LOG.debug("%s " + format, self.address_string(), *args)
