"""An HTTPS proxy that leads every connection to the emulator, for clients that cannot be given
another address than `https://compute.googleapis.com`.

It answers CONNECT, speaks TLS with a self-signed certificate of Google's names, and copies bytes in
both directions. It changes nothing in a request or a response.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from compute_emulator.traffic.tls import self_signed

NAMES = ("compute.googleapis.com", "www.googleapis.com")  # the second one is that of the self links


@dataclass(frozen=True)
class TlsProxy:
    url: str
    certificate: str  # as PEM: what the client has to trust


@contextmanager
def tls_proxy(port: int) -> Iterator[TlsProxy]:
    """`port`: where the emulator listens."""
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listening, port), daemon=True).start()
    try:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield TlsProxy(address, self_signed(NAMES).chain)
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # ends the call of accept
        listening.close()


def _accept(listening: socket.socket, port: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_serve, args=(client, port), daemon=True).start()


def _serve(client: socket.socket, port: int) -> None:
    with suppress(OSError), client:
        while not client.recv(65536).endswith(b"\r\n\r\n"):
            pass
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context = self_signed(NAMES).context
        with (
            context.wrap_socket(client, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", port)) as emulator,
        ):
            back = threading.Thread(target=_copy, args=(emulator, secure), daemon=True)
            back.start()
            _copy(secure, emulator)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
