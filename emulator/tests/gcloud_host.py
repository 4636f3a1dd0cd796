"""Runs gcloud commands in forks of one process that has gcloud's modules loaded: gcloud spends
nine tenths of a command on importing them.

gcloud's own launcher starts it, with the interpreter that it would use itself:

    CLOUDSDK_PYTHON_ARGS=gcloud_host.py gcloud

Each line of the input is a JSON array: arguments, environment, and the files for output and
errors. The answer is a line with the exit code. GCLOUD_DIRECTORY and GCLOUD_INPUT, in the
environment of a command, are where it runs and the file that it reads. What a command imports is
loaded for the next ones.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

GCLOUD = Path(sys.argv[-1])  # gcloud.py, which the launcher names
LOADED = (  # by most commands; one that a version of gcloud does not have is left to the command
    "googlecloudsdk.gcloud_main",
    "googlecloudsdk.api_lib.compute.base_classes",
    "googlecloudsdk.api_lib.container.api_adapter",
    "googlecloudsdk.command_lib.compute.flags",
    "googlecloudsdk.core.credentials.requests",
    "googlecloudsdk.core.updater.update_manager",
    "googlecloudsdk.generated_clients.apis.compute.v1.compute_v1_client",
    "proto",
)


def main() -> None:
    sys.path.insert(0, str(GCLOUD.parent))
    gcloud = importlib.import_module(GCLOUD.stem)
    _load(LOADED)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _run(gcloud, writer, *json.loads(line))
        os.close(writer)
        with os.fdopen(reader) as imported:
            names = imported.read().split()
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
        _load(names)


def _load(names: Iterable[str]) -> None:
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def _run(
    gcloud: Any,
    imported: int,
    arguments: list[str],
    environment: dict[str, str],
    output: str,
    errors: str,
) -> NoReturn:
    loaded = set(sys.modules)
    for path, stream in ((output, sys.stdout), (errors, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(environment.get("GCLOUD_DIRECTORY", "."))
    os.dup2(os.open(environment.get("GCLOUD_INPUT", os.devnull), os.O_RDONLY), 0)
    sys.argv = [str(GCLOUD), *arguments]
    code = 1
    try:
        gcloud.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        names = (name for name in sys.modules if name.startswith("googlecloudsdk."))
        os.write(imported, "\n".join(name for name in names if name not in loaded).encode())
        os._exit(code)


main()
