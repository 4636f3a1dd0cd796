"""Serves a `World` over HTTP as a proxy, for the real gcloud.

gcloud is pointed at `http://API.google.example` for each API and at this server as its proxy, so
that regional addresses, which gcloud derives from the API's name, arrive here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.deploy.world import REGION, Json, Refusal, World

APIS = (
    *("serviceusage", "iam", "cloudresourcemanager", "pubsub", "run", "cloudscheduler"),
    *("cloudtasks", "firestore", "artifactregistry", "cloudbuild", "compute", "secretmanager"),
    *("storage", "monitoring", "logging", "iap"),
)
_PATHS = {"compute": "compute/v1/", "storage": "storage/v1/"}


class Imitation:
    """An HTTP server on a free port. `requests` are those served; `unknown`, those it cannot."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[tuple[str, str]] = []
        self.unknown: list[str] = []
        self.uploads: list[bytes] = []
        self.before: Callable[[str, str], None] = lambda method, url: None
        lock, imitation = Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                with lock:
                    code, body = imitation.answer(self.command, self.path, content)
                sent = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, method: str, url: str, content: bytes) -> tuple[int, Json]:
        split = urlsplit(url)
        api = (split.hostname or "").partition(".")[0].removeprefix(f"{REGION}-")
        self.requests.append((method, url))
        body = json.loads(content) if content[:1] == b"{" else {}
        if content[:2] == b"--":
            self.uploads.append(_uploaded(content))
            body = {"size": str(len(self.uploads[-1]))}
        try:
            self.before(method, url)
            path = unquote(split.path).lstrip("/")
            return 200, self.world.request(api, method, path, dict(parse_qsl(split.query)), body)
        except Refusal as refusal:
            error = {"code": refusal.code, "status": refusal.status, "message": refusal.message}
            return refusal.code, {"error": error}
        except Exception as error:
            self.unknown.append(f"{method} {url} {content[:300]!r}: {error!r}")
            return 501, {"error": {"code": 501, "message": repr(error)}}

    def environment(self, home: Path) -> dict[str, str]:
        """What points gcloud here."""
        token = home / "token"
        token.write_text("token")
        return {
            "http_proxy": f"http://127.0.0.1:{self._server.server_port}",
            "no_proxy": "",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_CONFIG": str(home / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            **{
                f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": (
                    f"http://{api}.google.example/{_PATHS.get(api, '')}"
                )
                for api in APIS
            },
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _uploaded(content: bytes) -> bytes:
    """The file in a request of two parts, metadata and file."""
    boundary = content.partition(b"\n")[0].strip()
    part = content.split(b"\n" + boundary)[1]
    return re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1].removesuffix(b"\r")
