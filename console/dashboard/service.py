"""The dashboard as a service of its own, behind Identity-Aware Proxy: `gunicorn
'console.dashboard.service:make_app()'`.

Its identity needs `roles/datastore.viewer` and nothing else. Who may see it is up to the proxy,
whose signature under each request is verified (docs/dashboard.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from console.connect import Connection, connect
from console.dashboard.app import App
from console.dashboard.iap import Iap, Keys
from console.dashboard.sources import Sources
from infra.errors import Unavailable
from infra.store.readable import find_unreadable

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

AUDIENCE, PROXY = "SLIPWAY_IAP_AUDIENCE", "SLIPWAY_DASHBOARD_PROXY"
OTHER = "other"
SELF_CHECK, FAILED = "/self-check", "503 Service Unavailable"

log = logging.getLogger("slipway")


class Checked:
    """The application, and the answer to Cloud Run's startup probe, which no proxy signs. A store
    that does not answer now is no reason not to start: the pages say so.
    """

    def __init__(self, app: App, connection: Connection) -> None:
        self._app, self._connection = app, connection
        self._is_right = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != SELF_CHECK:
            return self._app(environ, start_response)
        self._is_right = self._is_right or not self._problems()
        status, text = ("200 OK", b"right") if self._is_right else (FAILED, b"see the log")
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", f"{len(text)}")])
        return [text]

    def _problems(self) -> list[str]:
        try:
            problems = [*find_unreadable(self._connection.store, self._connection.project)]
        except Unavailable as error:
            log.warning("documents cannot be read now: %s", error)
            return []
        except Exception as error:
            problems = [f"documents cannot be read: {error!r}"]
        for each in problems:
            log.error("self-check failed: %s", each)
        return problems


def make_app(environment: Mapping[str, str] = os.environ) -> Checked:
    """Reads the project GOOGLE_CLOUD_PROJECT. Raises ValueError if nobody says who keeps strangers
    out.
    """
    refuse = _refuse(environment)
    connection = connect(environment["GOOGLE_CLOUD_PROJECT"], environment)
    sources = Sources(connection)
    sources.begin()
    return Checked(App(sources, hosts=None, refuse=refuse), connection)


def _refuse(environment: Mapping[str, str]) -> Callable[[Mapping[str, object]], str] | None:
    audience, proxy = environment.get(AUDIENCE, ""), environment.get(PROXY, "")
    if audience and not proxy:
        return Iap(audience, Keys())
    if proxy == OTHER and not audience:
        return None
    raise ValueError(
        f"{AUDIENCE} must be the audience of Identity-Aware Proxy's tokens for this service, as"
        f" deploy/dashboard.sh sets it. If another proxy decides who may see all models, and the"
        f" service is reached through it alone, set {PROXY}={OTHER} in its place"
    )
