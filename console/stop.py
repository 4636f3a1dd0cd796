"""The commands `stop` and `start`: the policy's switch that stops every change to Compute Engine.

Each reads `settings/policy`, changes its field `stop` alone, and writes the document only if nobody
else has written it since. The functions read it in every pass.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from console.connect import Connection, Failure
from console.options import Project, program_of
from console.output import print_line
from infra.settings import POLICY
from infra.store.port import Conflict, Create, Replace
from rollout.policy.stop import Stop, load_stop, stop_of

TRIES = 5
Change = Callable[[Mapping[str, Any]], dict[str, Any]]


def stop(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; others read it.")],
    also_rollbacks: Annotated[
        bool, typer.Option("--also-rollbacks", help="No rollback goes on, either.")
    ] = False,
    by: Annotated[
        str, typer.Option("--by", metavar="WHO", help="Who; without it, this user's name.")
    ] = "",
    project: Project = None,
) -> None:
    """Stop every change to Compute Engine, for all models.

    Fleets serve, heal and scale out. Releases and commands are accepted and begin later. Rollbacks
    go on, unless somebody has stopped them, too: only slipway start ends that. No deadline and no
    bake runs. A pass that has begun ends within a minute.

    \b
    Example:
      slipway stop --reason "incident 42"
      slipway stop --reason "quota incident" --also-rollbacks
    """
    program = program_of(context)
    with program.open(project) as connection:
        field: dict[str, Any] = {
            "reason": reason,
            "by": by or getpass.getuser(),
            "since": f"{connection.clock.now():%Y-%m-%dT%H:%M:%SZ}",
        }
        field |= {"rollbacks": True} if also_rollbacks else {}
        try:
            stopped = load_stop(field)
        except ValueError as error:
            raise Failure(f"--reason, --by: {error}") from error
        before = _write(connection, lambda policy: _with_stop(policy, field))
    if before:
        print_line(program.notes, f"it was {before.why}")
    if stopped and before:
        stopped = replace(stopped, rollbacks=stopped.rollbacks or before.rollbacks)
    print_line(program.out, f"{connection.place} is {stopped.why if stopped else ''}")
    print_line(program.notes, "slipway start ends it")


def start(context: typer.Context, project: Project = None) -> None:
    """End a stop: every rollout goes on where it was.

    \b
    Example:
      slipway start
    """
    program = program_of(context)
    with program.open(project) as connection:
        before = _write(connection, _without_stop)
    if before is None:
        print_line(program.out, f"{connection.place} is not stopped")
        return
    print_line(program.notes, f"it was {before.why}")
    print_line(program.out, f"{connection.place} goes on within two minutes")


def _with_stop(policy: Mapping[str, Any], field: Mapping[str, Any]) -> dict[str, Any]:
    """A second stop lets nothing go on that the first one stopped."""
    before = stop_of(policy)
    kept = {"rollbacks": True} if before and before.rollbacks else {}
    return {**policy, "stop": {**field, **kept}}


def _without_stop(policy: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in policy.items() if name != "stop"}


def _write(connection: Connection, change: Change) -> Stop | None:
    """Change the policy, and return the stop that it had."""
    for _ in range(TRIES):
        document = connection.settings.get(POLICY)
        before = document.data if document else {}
        after = change(before)
        if after == before:
            return stop_of(before)
        try:
            write = Replace(POLICY, after, document.version) if document else Create(POLICY, after)
            connection.settings.commit(write)
        except Conflict:
            continue
        return stop_of(before)
    raise Failure(f"{POLICY} is being changed by others: try again")
