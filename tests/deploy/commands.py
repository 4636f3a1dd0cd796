"""Runs the deployment scripts with a `gcloud` on their PATH that a function of the test answers."""

from __future__ import annotations

import os
import shlex
import socketserver
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Call(NamedTuple):
    """A command: its arguments, the folder it runs in, what it reads, and the program's name."""

    arguments: list[str]
    directory: str
    input: str
    program: str = "gcloud"


class Answer(NamedTuple):
    code: int = 0
    output: str = ""
    errors: str = ""

    def check(self) -> None:
        assert self.code == 0, self.errors


# Bash itself can speak TCP. Scripts get a function, which starts no process; other programs find an
# executable with the same function.
_CLIENT = """local input="" connection code output errors
case " $* " in *=-\\ * | *@-\\ *) input="$(cat)" ;; esac
exec {connection}<>"/dev/tcp/127.0.0.1/$GCLOUD_PORT"
printf '%s\\0' NAME "$#" "$PWD" "$input" "$@" >&$connection
{ IFS= read -r -d '' code && IFS= read -r -d '' output && IFS= read -r -d '' errors; } \\
  <&$connection || code=99
exec {connection}>&-
printf '%s' "$output"
printf '%s' "$errors" >&2
return "$code"
"""


class Commands:
    """`run("bootstrap.sh", …)` runs a script; `answer` gets each command of these programs."""

    def __init__(
        self,
        answer: Callable[[Call], Answer],
        folder: Path,
        programs_answered: tuple[str, ...] = ("gcloud",),
    ) -> None:
        self.answer = answer
        self.process: subprocess.Popen[str] | None = None
        programs = folder / "programs"
        programs.mkdir()
        functions = {name: _CLIENT.replace("NAME", name) for name in programs_answered}
        functions["sleep"] = "return 0\n"
        for name, body in functions.items():
            (programs / name).write_text(f'#!/bin/bash\n{name}() {{\n{body}}}\n{name} "$@"\n')
            (programs / name).chmod(0o755)
        commands = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                program, count = self._text(), int(self._text())
                directory, given = self._text(), self._text()
                call = Call([self._text() for _ in range(count)], directory, given, program)
                code, output, errors = commands.answer(call)
                self.wfile.write(f"{code}\0{output}\0{errors}\0".encode())

            def _text(self) -> str:
                content = bytearray()
                while (byte := self.rfile.read(1)) not in (b"\0", b""):
                    content += byte
                return content.decode()

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self._server.socket.listen(16)
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GOOGLE_", "CLOUDSDK_", "SLIPWAY_", "PROMETHEUS_"))
        } | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "GCLOUD_PORT": str(self._server.server_address[1]),
            **{f"BASH_FUNC_{name}%%": f"() {{\n{body}}}" for name, body in functions.items()},
        }

    def run(self, command: str, **environment: str) -> Answer:
        """Run a script in `deploy` with these arguments, for the imitated project."""
        name, *arguments = shlex.split(command)
        return self.shell([str(ROOT / "deploy" / name), *arguments], ROOT, **environment)

    def shell(self, command: list[str], cwd: Path = ROOT, **environment: str) -> Answer:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        output, errors = self.process.communicate(timeout=600)
        return Answer(self.process.returncode, output, errors)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
