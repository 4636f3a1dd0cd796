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
from console.dashboard.pages import ModelsPage
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
ENTRY = re.compile(r"[0-9]{8}-[A-Za-z0-9_-]{1,128}")
PLACE = re.compile(r"[0-9]{1,16}\.[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
KEY = re.compile(r"(?!__)[A-Za-z0-9_-]{1,128}")
OLD_SECONDS = 60.0
HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:]+)(:[0-9]+)?")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Found:
    """A page to render. `title`: what the browser's tab says. `make`: makes it with so many rows
    of each list.
    """

    template: str
    title: str
    make: Callable[[int], Any]


class Refusal(Exception):
    """A request that gets another status than 200."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class App:
    """`hosts`: the names that are answered; None if whoever is in front has checked them.
    `refuse`: says why a request is refused, empty if it is not.
    """

    def __init__(
        self,
        sources: Sources,
        hosts: frozenset[str] | None,
        refuse: Callable[[Mapping[str, object]], str] | None = None,
    ) -> None:
        self._sources, self._hosts, self._refuse = sources, hosts, refuse

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, body, more = self._answer(environ)
        length = ("Content-Length", str(len(body)))
        start_response(status, [*HEADERS, length, *more])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, bytes, list[tuple[str, str]]]:
        try:
            with explained(self._sources.connection.place):
                self._check(environ)
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
        if self._refuse and (why := self._refuse(environ)):
            raise Refusal("403 Forbidden", why)
        if self._hosts is None:
            return
        found = HOST.fullmatch(environ.get("HTTP_HOST", "").lower())
        if not found or found[1] not in self._hosts:
            raise Refusal("421 Misdirected Request", "Use the address that slipway has printed.")

    def _page(self, environ: WSGIEnvironment) -> bytes:
        path = environ.get("PATH_INFO", "")
        query = parse_qs(environ.get("QUERY_STRING", "")[:2000], max_num_fields=20)
        found = self._find(path, {name: values[0] for name, values in query.items()})
        body, stopped = b"", self._sources.stopped
        for limits in LIMITS:
            page = found.make(limits.rows)
            body = self._render(found.template, found.title, limits, page, stopped)
            if len(body) <= MAX_BYTES:
                break
        return body

    def _find(self, path: str, query: Mapping[str, str]) -> Found:
        """Reads what the page at this path shows."""
        sources, before = self._sources, query.get("before", "")
        match [each for each in path.split("/") if each]:
            case []:
                models = sources.models(query.get("q", ""), _number(query.get("page", "1")))
                return Found("models.html", "Models", lambda _: models)
            case ["models", name] if is_model_name(name):
                entry = before if ENTRY.fullmatch(before) else ""
                return Found("model.html", name, _read(name, sources.model, entry))
            case ["models", name, "releases"] if is_model_name(name):
                releases = _read(name, sources.releases, _checked(before))
                return Found("releases.html", f"Releases of {name}", lambda _: releases)
            case ["quarantine"]:
                refused = sources.quarantine(_checked(before))
                return Found("quarantine.html", "Refused messages", lambda _: refused)
            case ["quarantine", key] if KEY.fullmatch(key) and (view := sources.refused(key)):
                return Found("refused.html", f"Refused message {key}", lambda _: view)
            case ["policy"]:
                return Found("policy.html", "Policy", sources.policy().shortened)
        raise Refusal("404 Not Found", "There is no such page, or it is of something that is gone.")

    def _error(self, status: str, why: str) -> bytes:
        return self._render("error.html", status, LIMITS[0], why)

    def _render(
        self, template: str, title: str, limits: Limits, page: Any, stopped: str = ""
    ) -> bytes:
        connection = self._sources.connection
        now = connection.clock.now()
        at, age = (page.at, page.age) if isinstance(page, ModelsPage) else (now, 0.0)
        return render(
            template,
            limits,
            title=title,
            page=page,
            stopped=stopped,
            place=connection.place,
            now=now,
            at=at,
            is_old=age > OLD_SECONDS,
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


def _checked(place: str) -> str:
    return place if PLACE.fullmatch(place) else ""
