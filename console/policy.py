"""`slipway policy`: shows, checks and changes what releases may do.

The document is replaced only in the version that the shown difference is from, so that of two
people who change it at once the second one sees what the first one did.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import typer

from console.connect import Connection, Failure
from console.follow import documents, state_of
from console.options import Program, Project, program_of
from console.output import print_items, print_line
from console.send import read_event
from infra.settings import POLICY, load_policy_document
from infra.store.documents import UnknownSchema
from infra.store.port import Conflict, Create, Document, Replace
from rollout.policy.changes import widen
from rollout.policy.checks import policy_violations
from rollout.policy.policy import Policy
from rollout.spec.problems import Invalid
from rollout.spec.strict_json import decode_json

REFUSED = 2
Data = dict[str, Any]
Yes = Annotated[bool, typer.Option("--yes", help="Change it without a question.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="The policy's file; - for stdin.")]


def show(context: typer.Context, project: Project = None) -> None:
    """Show the policy, as JSON that slipway policy set takes.

    \b
    Example:
      slipway policy show > policy.json
    """
    program = program_of(context)
    with program.open(project) as connection:
        stored = connection.settings.get(POLICY)
    if stored is None:
        print_line(program.notes, "there is no policy: the defaults of docs/operations.md hold")
    program.out.out(_text(stored.data if stored else {}), highlight=False)


def check(context: typer.Context, file: File) -> None:
    """Check that a file is a policy. Reads nothing else, and changes nothing.

    \b
    Exit status:
      0  it is a policy
      2  it is not

    \b
    Example:
      slipway policy check policy.json
    """
    program = program_of(context)
    try:
        load_policy_document(_read(file))
    except ValueError as error:
        print_line(program.notes, f"slipway: {file}: {error}", "red")
        raise typer.Exit(REFUSED) from error
    print_line(program.notes, f"{file} is a policy")


def set_(context: typer.Context, file: File, yes: Yes = False, project: Project = None) -> None:
    """Make a file the policy.

    Shows what differs, and what serves now and would not be accepted again. It keeps serving; a
    rollout that the policy forbids rolls back. The switch stop stays as it is: slipway stop and
    slipway start change it.

    \b
    Example:
      slipway policy set policy.json
    """
    given = _read(file)
    _change(program_of(context), project, partial(_replaced, given), is_confirmed=yes)


def allow(
    context: typer.Context,
    changes: Annotated[
        list[str],
        typer.Argument(metavar="FIELD=VALUE...", help="What to allow; lists get one more entry."),
    ],
    yes: Yes = False,
    project: Project = None,
) -> None:
    """Allow more, as the reason of a refusal says.

    \b
    Example:
      slipway policy allow hosts=models.example.com exposure=external
      slipway policy allow machine_types=g2-standard-12 max_accelerators=8
    """
    program = program_of(context)
    _change(program, project, lambda before: widen(before, changes), is_confirmed=yes)


def _change(
    program: Program,
    project: str | None,
    change: Callable[[Data], Data],
    *,
    is_confirmed: bool,
) -> None:
    with program.open(project) as connection:
        stored = connection.settings.get(POLICY)
        before = stored.data if stored else {}
        try:
            after = change(before)
            policy = load_policy_document(after, connection.project)
        except ValueError as error:
            raise Failure(str(error)) from error
        if stored and _text(before) == _text(after):
            print_line(program.notes, "the policy says this already")
            return
        for line in _difference(before, after):
            print_line(program.out, line)
        refused = [*_refused(connection, policy)]
        print_items(program.notes, "Serves, and would not be accepted again", refused)
        if not is_confirmed:
            _confirm(connection.place)
        _write(connection, stored, after)
        print_line(program.notes, f"the policy of {connection.place} is changed")


def _replaced(given: Data, before: Data) -> Data:
    """A stop is not ended by a file that was written before it."""
    kept = {"stop": before["stop"]} if "stop" in before else {}
    return {name: value for name, value in given.items() if name != "stop"} | kept


def _write(connection: Connection, stored: Document | None, after: Data) -> None:
    write = Replace(POLICY, after, stored.version) if stored else Create(POLICY, after)
    try:
        connection.settings.commit(write)
    except Conflict as error:
        raise Failure(
            "somebody else changed the policy meanwhile, and nothing is changed; run this again"
        ) from error


def _confirm(place: str) -> None:
    if not sys.stdin.isatty():
        raise Failure("--yes: is needed where nobody can be asked; nothing is changed")
    typer.confirm(f"Make this the policy of {place}?", abort=True, err=True)


def _difference(before: Data, after: Data) -> Iterator[str]:
    """The lines of the JSON that differ, with three around them."""
    return difflib.unified_diff(
        _text(before).splitlines(), _text(after).splitlines(), "before", "after", lineterm=""
    )


def _refused(connection: Connection, policy: Policy) -> Iterator[str]:
    """Why the policy would not accept what serves."""
    for document in documents(connection.store, "models"):
        try:
            state = state_of(document)
        except UnknownSchema:
            continue  # `slipway doctor` reports it
        stable = state.rollout.stable
        if stable:
            model = state.desired.model
            for each in policy_violations(policy, model, stable.version, stable.spec):
                yield f"{model} {stable.version}: {each.why}"


def _read(file: str) -> Data:
    try:
        value = decode_json(read_event(file))
    except Invalid as error:
        raise Failure(f"FILE: {error}") from error
    if not isinstance(value, Mapping):
        raise Failure("FILE: must be a JSON object, such as slipway policy show prints")
    return dict(value)


def _text(document: Data) -> str:
    return json.dumps(document, indent=2, sort_keys=True)
