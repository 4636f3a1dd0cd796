"""HTTPS requests to hosts that a release or a setting names: which host, scheme and address may be
connected to, and one request within a deadline.

Used by `infra/verdicts/https.py` and `infra/notifications/https.py`; `infra/registry/https.py`
shares the rules for schemes. A name is resolved once, all its addresses are checked, and the
connection goes to one that was checked, so that no second answer of a name server leads elsewhere.
Invariants: no redirect is followed, no proxy or credential of the environment is used, and nothing
that a server does raises or takes longer than the deadline.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from http.client import HTTPException, HTTPSConnection
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit

from rollout.deferred import dataclass

GLOBAL_UNICAST = IPv6Network("2000::/3")

Resolve = Callable[[str, int], tuple[str, ...]]


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = host.partition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def is_safe(scheme: str, host: str) -> bool:
    """Plain HTTP does not leave this machine."""
    return scheme == "https" or (scheme == "http" and is_loopback(host))


def is_public(address: str) -> bool:
    """Whether anybody's server may have this address: not the metadata server, a private network,
    this machine, a group of receivers, or an IPv4 address in the form of IPv6, which may be any.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        is_tunnel = found.sixtofour is not None or found.teredo is not None
        return found in GLOBAL_UNICAST and found.is_global and not is_tunnel
    return found.is_global and not found.is_multicast and not found.is_reserved


def resolve(host: str, port: int) -> tuple[str, ...]:
    """All addresses of a host. Raises OSError if there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True)
class Reply:
    """An answer whatever its status; names of headers are in lower case. `body` is empty unless the
    status is 200.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class NoReply:
    kind: Literal["not-allowed", "timeout", "http", "too-large"]
    why: str


@dataclass(frozen=True)
class Outbound:
    """How requests leave. `may_connect` says which addresses may be connected to. Tests, whose
    servers are on this machine, pass it, `resolve` and a `context` with their own certificate.
    """

    timeout_seconds: float
    max_bytes: int
    may_connect: Callable[[str], bool] = is_public
    resolve: Resolve = resolve
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply | NoReply:
        """A thread that is late is left behind: no time-out of a socket limits a whole answer. Its
        connection is shut down, so that it ends.
        """
        answers: list[Reply | NoReply] = []
        opened: list[ssl.SSLSocket] = []
        thread = Thread(
            target=lambda: answers.append(self._post(url, body, headers, opened)), daemon=True
        )
        thread.start()
        thread.join(self.timeout_seconds)
        if answers:
            return answers[0]
        for each in opened:
            with suppress(OSError):  # it has just ended
                each.shutdown(socket.SHUT_RDWR)
        return self._late(url)

    def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], opened: list[ssl.SSLSocket]
    ) -> Reply | NoReply:
        host = _host(url)
        try:
            parts = urlsplit(url)
            name, port = parts.hostname or "", parts.port or 443
            if parts.scheme != "https" or not name or "@" in parts.netloc:
                return NoReply("not-allowed", "the URL must be https://host/path without user info")
            addresses = self.resolve(name, port)
            for address in addresses:
                if not self.may_connect(address):
                    return NoReply("not-allowed", f"{host} has the internal address {address}")
            connection = _Pinned(name, port, addresses[0], self.context, self.timeout_seconds)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            try:
                opened.append(connection.open())
                opened[-1].do_handshake()
                connection.request("POST", path, body, dict(headers))
                return self._read(connection, host)
            finally:
                connection.close()
        except TimeoutError:
            return self._late(url)
        except Exception as error:  # a library raises what it likes, and this is only an answer
            return NoReply("http", f"{host} did not answer: {_name(error)}")

    def _read(self, connection: HTTPSConnection, host: str) -> Reply | NoReply:
        response = connection.getresponse()
        found = {name.lower(): text for name, text in response.getheaders()}
        if response.status != 200:
            return Reply(response.status, found, b"")
        parts = bytearray()
        while part := response.read1(65536):
            parts += part
            if len(parts) > self.max_bytes:
                return NoReply("too-large", f"{host} sent more than {self.max_bytes >> 10} KiB")
        if response.length:
            return NoReply("http", f"{host} broke off")
        return Reply(200, found, bytes(parts))

    def _late(self, url: str) -> NoReply:
        return NoReply("timeout", f"{_host(url)} did not answer in {self.timeout_seconds:g} s")


class _Pinned(HTTPSConnection):
    """A connection to this address of the host; the certificate must be the host's."""

    def __init__(
        self, host: str, port: int, address: str, context: ssl.SSLContext, timeout: float
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._address, self._tls = address, context

    def open(self) -> ssl.SSLSocket:
        """The connected socket, before the handshake: shut down, it ends whatever waits on it."""
        plain = socket.create_connection((self._address, self.port), self.timeout)
        opened = self._tls.wrap_socket(
            plain, server_hostname=self.host, do_handshake_on_connect=False
        )
        self.sock = opened
        return opened


def _name(error: Exception) -> str:
    """What went wrong, without text that a server chose."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {error.verify_message}"
        case HTTPException() | ValueError():
            return f"it does not speak HTTP ({type(error).__name__})"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return type(error).__name__


def _host(url: str) -> str:
    """The host and port for people, without credentials; also of what is no valid URL."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
