"""The dashboard as a WSGI application. It only reads: each request but GET and HEAD is refused.

On loopback only the names of this machine are answered, so that a page of somebody else cannot read
it through a name that it points at this address (DNS rebinding).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from console.connect import Failure, explained
from console.dashboard.render import LIMITS, MAX_BYTES, POLICY, Limits, render
from console.dashboard.sources import Sources
from infra.store.documents import UnknownSchema
from rollout.spec.types import is_model_name

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", POLICY),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
NUMBER = re.compile(r"[0-9]{1,9}")
PLACE = re.compile(r"[0-9]{8}-[A-Za-z0-9_-]{1,128}")
KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:]+)(:[0-9]+)?")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Found:
    """A page to render. `title`: what the browser's tab says."""

    template: str
    title: str
    page: Any


class Refusal(Exception):
    """A request that gets another status than 200."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class App:
    """`hosts`: the names that are answered; None if whoever is in front has checked them."""

    def __init__(self, sources: Sources, hosts: frozenset[str] | None) -> None:
        self._sources, self._hosts = sources, hosts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, body, more = self._answer(environ)
        length = ("Content-Length", str(len(body)))
        start_response(status, [*HEADERS, length, *more])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, bytes, list[tuple[str, str]]]:
        try:
            self._check(environ)
            with explained(self._sources.connection.place):
                return "200 OK", self._page(environ), []
        except Refusal as refusal:
            more = [("Allow", "GET, HEAD")] if refusal.status.startswith("405") else []
            return refusal.status, self._error(refusal.status, refusal.why), more
        except Failure as failure:
            status = "503 Service Unavailable"
            return status, self._error(status, str(failure)), []
        except Exception as error:
            log.exception("dashboard failed")
            status = "500 Internal Server Error"
            why = f"{type(error).__name__}: a document is damaged, or this is a defect of slipway"
            return status, self._error(status, why), []

    def _check(self, environ: WSGIEnvironment) -> None:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise Refusal("405 Method Not Allowed", "The dashboard only reads.")
        if self._hosts is None:
            return
        found = HOST.fullmatch(environ.get("HTTP_HOST", "").lower())
        if not found or found[1] not in self._hosts:
            raise Refusal("421 Misdirected Request", "Use the address that slipway has printed.")

    def _page(self, environ: WSGIEnvironment) -> bytes:
        path = environ.get("PATH_INFO", "")
        query = parse_qs(environ.get("QUERY_STRING", "")[:2000], max_num_fields=20)
        body = b""
        for limits in LIMITS:
            found = self._find(path, {name: values[0] for name, values in query.items()}, limits)
            body = self._render(
                found.template, found.title, limits, found.page, self._sources.stopped
            )
            if len(body) <= MAX_BYTES:
                break
        return body

    def _find(self, path: str, query: Mapping[str, str], limits: Limits) -> Found:
        sources, number = self._sources, _number(query.get("page", "1"))
        match [each for each in path.split("/") if each]:
            case []:
                page = sources.models(query.get("q", ""), number)
                return Found("models.html", "Models", page)
            case ["models", name] if is_model_name(name):
                before = query.get("before", "")
                place = before if PLACE.fullmatch(before) else ""
                return Found("model.html", name, _read(name, sources.model, place, limits.rows))
            case ["models", name, "releases"] if is_model_name(name):
                releases = _read(name, sources.releases, number)
                return Found("releases.html", f"Releases of {name}", releases)
            case ["quarantine"]:
                return Found("quarantine.html", "Refused messages", sources.quarantine(number))
            case ["quarantine", key] if KEY.fullmatch(key) and (view := sources.refused(key)):
                return Found("refused.html", f"Refused message {key}", view)
            case ["policy"]:
                return Found("policy.html", "Policy", sources.policy())
        raise Refusal("404 Not Found", "There is no such page, or it is of something that is gone.")

    def _error(self, status: str, why: str) -> bytes:
        return self._render("error.html", status, LIMITS[0], why)

    def _render(
        self, template: str, title: str, limits: Limits, page: Any, stopped: str = ""
    ) -> bytes:
        connection = self._sources.connection
        return render(
            template,
            limits,
            title=title,
            page=page,
            stopped=stopped,
            place=connection.place,
            now=connection.clock.now(),
        )


def _read(model: str, read: Callable[..., Any], *arguments: object) -> Any:
    """Of one model; refused if there is none, or another Slipway has written it."""
    try:
        found = read(model, *arguments)
    except UnknownSchema as error:
        raise Refusal("503 Service Unavailable", str(error)) from error
    if found is None:
        raise Refusal("404 Not Found", f"There is no model {model}.")
    return found


def _number(text: str) -> int:
    return int(text) if NUMBER.fullmatch(text) else 1
