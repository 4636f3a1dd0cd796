"""The options and arguments that commands share, and what a command gets to work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from console.connect import Connect, Connection, Failure, explained
from rollout.spec.types import is_model_name, is_version


class Format(StrEnum):
    """How a command writes what it found."""

    table = "table"
    json = "json"


Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="ID",
        help="The Google Cloud project; without it a local stack that runs, else"
        " GOOGLE_CLOUD_PROJECT, else gcloud's.",
    ),
]
Output = Annotated[Format, typer.Option("--output", help="How to write the result.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@dataclass(frozen=True)
class Program:
    """`out` gets the result, `notes` what people may want to know beside it."""

    connect: Connect
    out: Console
    notes: Console

    @contextmanager
    def open(self, project: str | None) -> Iterator[Connection]:
        """Connects. What the store and the bus raise in the block becomes a `Failure`."""
        with explained(f"project {project}" if project else "the project"):
            connection = self.connect(project)
        with explained(connection.place):
            yield connection

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Says on a terminal what is being done, as long as it is."""
        if not self.notes.is_terminal or self.notes.is_dumb_terminal:
            yield
            return
        with self.notes.status(what):
            yield


def program_of(context: typer.Context) -> Program:
    program = context.obj
    assert isinstance(program, Program)
    return program


def check_model(name: str) -> str:
    if is_model_name(name):
        return name
    raise Failure(
        "MODEL: must be 1 to 40 lower-case letters, digits and hyphens, starting with a letter and"
        f" not ending in a hyphen, got {name[:80]!r}"
    )


def check_version(version: str, name: str = "VERSION") -> str:
    if is_version(version):
        return version
    raise Failure(
        f"{name}: must be 1 to 63 letters, digits and . _ + -, starting with a letter or digit,"
        f" got {version[:80]!r}"
    )
