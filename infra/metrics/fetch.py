"""Reads one JSON document over HTTP within a deadline, whatever the server does.

Used by the adapters beside this module. The deadline covers the whole answer: of a server that
sends a byte a second, too. It follows no redirect, and reads no more than `MAX_BYTES`. `requests`
is imported at first use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Any

from rollout.deferred import dataclass
from rollout.measurements import Unmeasured
from rollout.visible import one_line

if TYPE_CHECKING:
    from requests import Response, Session

MAX_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
MAX_WHY = 300

Query = Mapping[str, str | int | Sequence[str]]
MakeHeaders = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Answered:
    """The status of an answer, and its body as JSON. Of an error without JSON that is None, and
    `text` is what a proxy wrote instead, unless it is a page.
    """

    status: int
    document: Any
    text: str = ""


def no_headers() -> Mapping[str, str]:
    return {}


class Fetch:
    """`headers` is called for each request: an access token expires."""

    def __init__(self, timeout_seconds: float, headers: MakeHeaders = no_headers) -> None:
        self.timeout_seconds = timeout_seconds
        self._headers = headers

    def in_half_the_time(self) -> Fetch:
        return Fetch(self.timeout_seconds / 2, self._headers)

    def get(self, url: str, query: Query) -> Answered | Unmeasured:
        """A thread that is late is left behind: no time-out of a socket limits a whole answer. What
        it still reads is shut down, so that it ends.
        """
        answers: list[Answered | Unmeasured] = []
        opened: list[Response] = []
        thread = Thread(target=lambda: answers.append(self._get(url, query, opened)), daemon=True)
        thread.start()
        thread.join(self.timeout_seconds)
        if answers:
            return answers[0]
        for response in opened:
            with suppress(Exception):  # it has just ended
                response.raw.shutdown()
        return self._late(url)

    def _late(self, url: str) -> Unmeasured:
        seconds = f"{self.timeout_seconds:g} s"
        return Unmeasured("timeout", f"{_host(url)} did not answer within {seconds}")

    def _get(self, url: str, query: Query, opened: list[Response]) -> Answered | Unmeasured:
        from requests import Timeout

        headers: Mapping[str, str] = {}
        try:
            headers = self._headers()
            with self._session.get(
                url,
                params=dict(query),
                headers={"Accept": "application/json", **headers},
                timeout=self.timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                opened.append(response)
                if response.is_redirect:
                    return _redirected(url, response.headers["location"])
                body = _body(response)
        except Timeout:
            return self._late(url)
        except Exception as error:  # a library raises what it likes, and this is only an answer
            why = _without_secrets(str(error), url, headers)
            return Unmeasured("http", f"{_host(url)} cannot be read: {short(why)}")
        if isinstance(body, Unmeasured):
            return body
        try:
            return Answered(response.status_code, json.loads(body))
        except (ValueError, RecursionError):
            if response.status_code != 200:
                text = body.decode(errors="replace").strip()
                is_page = text.startswith("<")
                return Answered(response.status_code, None, "" if is_page else short(text))
            return Unmeasured("unreadable", f"{_host(url)} did not send JSON")

    @cached_property
    def _session(self) -> Session:
        from requests import Session

        return Session()


def _redirected(url: str, location: str) -> Unmeasured:
    """Without what follows the path, and without credentials."""
    target = location.partition("?")[0]
    if "://" in target:
        scheme, _, rest = target.partition("://")
        target = f"{scheme}://{_host(target)}/{rest.partition('/')[2]}"
    why = f"{_host(url)} redirects to {short(target)}, which is not followed: name its address"
    return Unmeasured("http", why)


def _body(response: Response) -> bytes | Unmeasured:
    from requests import RequestException

    host, parts, size = _host(response.url), [], 0
    try:
        for part in response.iter_content(CHUNK_BYTES):
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                why = f"{host} sent more than {MAX_BYTES >> 20} MiB; select fewer series"
                return Unmeasured("partial", why)
    except RequestException as error:
        return Unmeasured("partial", f"{host} broke off: {short(error)}")
    return b"".join(parts)


def short(error: object) -> str:
    """A foreign text on one line."""
    return one_line(str(error), MAX_WHY)


def _without_secrets(text: str, url: str, headers: Mapping[str, str]) -> str:
    """A library's text without the credentials that it may quote: from a URL or header that it
    refuses.
    """
    user = url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    quoted = (repr(value)[1:-1] for value in headers.values())
    for secret in (user, *headers.values(), *quoted):
        text = text.replace(secret, "***") if secret else text
    return text


def _host(url: str) -> str:
    """The host and port for people, without credentials; also of what is no valid URL."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
