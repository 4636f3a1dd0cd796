"""The command `dashboard`: serves the pages to browsers on this machine, until Ctrl-C."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.connect import Failure
from console.options import Project, program_of
from console.output import print_line

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from console.connect import Connection

PORT = 8420


def dashboard(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 for any free one.")
    ] = PORT,
    project: Project = None,
) -> None:
    """Show the models in a browser on this machine, read-only.

    Serves until Ctrl-C on 127.0.0.1, which no other machine reaches. The pages have commands to
    copy, and change nothing.

    \b
    Example:
      slipway dashboard
      slipway dashboard --port 0
    """
    program = program_of(context)
    with program.open(project) as connection:
        server = make_server(connection, port)
        address = f"http://127.0.0.1:{server.server_port}/"
        print_line(program.out, f"{address} shows {connection.place}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt), server:
            server.serve_forever()


def make_server(connection: Connection, port: int) -> WSGIServer:
    """A server with a thread for each request, so that a slow one does not delay others."""
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from console.dashboard.app import LOOPBACK, App
    from console.dashboard.sources import Sources

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        timeout = 30

        def log_message(self, format: str, *values: Any) -> None:
            """Nothing: a page that refreshes itself would fill the terminal."""

    try:
        server = Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise Failure(f"--port: cannot listen on {port}: {error.strerror}; --port 0") from error
    sources = Sources(connection)
    sources.begin()
    server.set_app(App(sources, LOOPBACK))
    return server
