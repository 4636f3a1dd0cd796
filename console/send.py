"""The commands that publish: `publish`, and one for each command of docs/spec.md."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import progress
from rich.table import Column

from console import views
from console.answers import Answer, Ending, Goal, goal_of
from console.connect import Connection, Failure
from console.follow import Progress, Sent, end_of_log, follow, wait_for_answer
from console.options import (
    Format,
    Model,
    Output,
    Program,
    Project,
    check_model,
    program_of,
)
from console.output import print_items, print_json, print_line
from console.planned import event_of_plan
from console.read import entry_line
from console.text import escape
from infra.bus.envelope import COMMAND_TYPE, RELEASE_TYPE, Payload
from infra.store import repository
from rollout.model import Verb
from rollout.spec.message import (
    CommandGiven,
    Invalid,
    ReleaseRequested,
    SpecProblem,
    decode_json,
    parse,
)
from rollout.spec.strict_json import MAX_BYTES
from rollout.spec.types import is_model_name, is_version

RELEASES, APPROVALS = "model-releases", "model-approvals"
SOURCE = "//slipway/console"
TOPIC = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
GOOD, BAD = 0, 2

Wait = Annotated[
    bool, typer.Option("--wait", help="Follow it to its end; the exit status says how it ended.")
]
Timeout = Annotated[
    int | None,
    typer.Option(
        "--timeout",
        min=1,
        metavar="SECONDS",
        help="With --wait: end with status 1 if it takes longer. The rollout goes on.",
    ),
]
Version = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="VERSION",
        help="The release to return to (rollback) or to try again (retry); with other commands a"
        " safeguard: do nothing unless this one is being rolled out.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")]
RequestedBy = Annotated[str, typer.Option("--by", metavar="WHO", help="Who, for the log.")]


@dataclass(frozen=True)
class Delivery:
    """Where a message goes, and what is done after that."""

    topic: str
    wait: bool
    timeout: int | None
    output: Format


# ---- publish


def publish(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The event's file; - for stdin.")
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="A plan that slipway plan --out wrote, in place of FILE: it is refused if what it"
            " decided on has changed.",
        ),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Publish an event, and say what became of it.

    The file has a model-release event, or a command, as docs/spec.md describes them.

    \b
    Exit status:
      0  accepted, or unchanged; with --wait: it succeeded
      1  an error: nothing is known of its end
      2  refused or superseded; with --wait: it did not succeed

    \b
    Example:
      slipway publish release.json --wait
      slipway publish - < release.json
      slipway publish --plan plan.json
    """
    program = program_of(context)
    if (file is None) == (plan is None):
        raise Failure("FILE: give a file with an event, or --plan, and not both")
    planned = event_of_plan(plan) if plan is not None else None
    data = planned.event if planned else read_event(file or "")
    request = _parse(data)
    if isinstance(request, Answer):
        if output is Format.json:
            _print_report(program, request, None, {})
        else:
            _print_answer(program, request)
        raise typer.Exit(BAD)
    with program.open(project) as connection:
        if planned and planned.project != connection.project:
            raise Failure(
                f"--plan: was made in project {planned.project}, and this is"
                f" {connection.project}; plan it here"
            )
        _send(program, connection, data, request, Delivery(RELEASES, wait, timeout, output))


def read_event(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failure(f"FILE: cannot read {file!r}: {error.strerror or error}") from error


def _parse(data: bytes) -> ReleaseRequested | CommandGiven | Answer:
    """What a message asks for. The intake judges it, maybe by newer rules, unless it is so wrong
    that its answer could not be found.
    """
    try:
        value = decode_json(data)
        return parse(value)
    except Invalid as error:
        subject = _subject(data)
        if subject:
            return subject
        return Answer("refused", str(error), problems=tuple(map(str, error.problems)))


def _subject(data: bytes) -> ReleaseRequested | None:
    try:
        value = decode_json(data)
    except Invalid:
        return None
    match value:
        case {"model": str(model), "version": str(version)} if is_model_name(model):
            return ReleaseRequested(model, version) if is_version(version) else None
    return None


# ---- Commands


def simple(verb: Verb, text: str) -> Callable[..., None]:
    """The command of the program that publishes `verb`, with the options that all of them have."""

    def command(
        context: typer.Context,
        model: Model,
        version: Version = None,
        reason: Reason = "",
        by: RequestedBy = "",
        wait: Wait = False,
        timeout: Timeout = None,
        output: Output = Format.table,
        project: Project = None,
    ) -> None:
        fields = {"version": version, "reason": reason, "requested_by": by}
        delivery = Delivery(RELEASES, wait, timeout, output)
        _command(context, verb, model, fields, delivery, project)

    command.__doc__ = text
    return command


def promote(
    context: typer.Context,
    model: Model,
    full: Annotated[
        bool, typer.Option("--full", help="End all steps and the bake, up to an approval.")
    ] = False,
    version: Version = None,
    reason: Reason = "",
    by: RequestedBy = "",
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """End the hold of the present step, or the bake.

    \b
    Example:
      slipway promote tiny
      slipway promote tiny --full --wait
    """
    fields = {"version": version, "reason": reason, "requested_by": by, "full": full}
    delivery = Delivery(RELEASES, wait, timeout, output)
    _command(context, "promote", model, fields, delivery, project)


def decision(verb: Verb, text: str) -> Callable[..., None]:
    """`approve` or `reject`: on a topic for approvals, or signed."""

    def command(
        context: typer.Context,
        model: Model,
        topic: Annotated[
            str, typer.Option("--topic", help="The topic for approvals that the step names.")
        ] = APPROVALS,
        signature: Annotated[
            str,
            typer.Option(
                "--signature", help="By a key of the policy's approvers, instead of the topic."
            ),
        ] = "",
        version: Version = None,
        reason: Reason = "",
        by: RequestedBy = "",
        wait: Wait = False,
        timeout: Timeout = None,
        output: Output = Format.table,
        project: Project = None,
    ) -> None:
        if not TOPIC.fullmatch(topic):
            raise Failure(f"--topic: must be a topic's name such as model-approvals, got {topic!r}")
        fields = {"version": version, "reason": reason, "requested_by": by}
        delivery = Delivery(RELEASES if signature else topic, wait, timeout, output)
        _command(context, verb, model, fields | {"signature": signature}, delivery, project)

    command.__doc__ = text
    return command


def retire(
    context: typer.Context,
    model: Model,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    version: Version = None,
    reason: Reason = "",
    by: RequestedBy = "",
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Remove a model and everything that is its own.

    \b
    Example:
      slipway retire tiny --yes --wait
    """
    if not yes:
        if not sys.stdin.isatty():
            raise Failure(
                f"--yes: needed to retire {escape(model)}, since nobody can be asked here"
            )
        typer.confirm(f"Remove {escape(model)} and all its instances?", abort=True, err=True)
    fields = {"version": version, "reason": reason, "requested_by": by}
    delivery = Delivery(RELEASES, wait, timeout, output)
    _command(context, "retire", model, fields, delivery, project)


pause = simple(
    "pause",
    """Stop a rollout where it is. Nothing that serves changes.

    \b
    Example:
      slipway pause tiny --reason "Looking at the latency first"
    """,
)
resume = simple(
    "resume",
    """Let a paused rollout go on.

    \b
    Example:
      slipway resume tiny --wait
    """,
)
abort = simple(
    "abort",
    """End a rollout, and return to the release before it.

    \b
    Example:
      slipway abort tiny --version 3 --reason "Wrong weights"
    """,
)
rollback = simple(
    "rollback",
    """Return to the previous release, or to an earlier one.

    slipway history MODEL marks those that --version may name: they have served.

    \b
    Example:
      slipway rollback tiny --wait
      slipway rollback tiny --version 1
    """,
)
retry = simple(
    "retry",
    """Try a failed release again.

    Without --version the last that failed. A paused one is judged anew.

    \b
    Example:
      slipway retry tiny --version 3 --wait
    """,
)
approve = decision(
    "approve",
    """Approve the step that a rollout is in.

    \b
    Example:
      slipway approve tiny --version 3 --by ann@example.com
    """,
)
reject = decision(
    "reject",
    """Reject the release that is being rolled out.

    It is taken back, and the release before it serves.

    \b
    Example:
      slipway reject tiny --version 3 --reason "Fails the safety tests"
    """,
)


def _command(
    context: typer.Context,
    verb: Verb,
    model: str,
    fields: Mapping[str, Any],
    delivery: Delivery,
    project: str | None,
) -> None:
    program = program_of(context)
    body: dict[str, Any] = {"model": check_model(model), "command": verb}
    body |= {name: value for name, value in fields.items() if value}
    try:
        request = parse(body)
    except Invalid as error:
        found = (
            SpecProblem(OPTIONS.get(each.path, f"--{each.path}"), each.allowed, each.given)
            for each in error.problems
        )
        raise Failure("; ".join(map(str, found))) from error
    with program.open(project) as connection:
        _send(program, connection, json.dumps(body).encode(), request, delivery)


OPTIONS = {"requested_by": "--by", "model": "MODEL"}


# ---- Sending


def _send(
    program: Program,
    connection: Connection,
    data: bytes,
    request: ReleaseRequested | CommandGiven,
    delivery: Delivery,
) -> None:
    """Publishes, reports the answer and, if it is to wait, the ending. Ends the program with its
    status.
    """
    sent = _publish(connection, data, request, delivery.topic)
    is_table = delivery.output is Format.table
    if is_table:
        where = f"{delivery.topic} of {connection.place}"
        print_line(program.notes, f"published message {sent.message_id} on {where}")
    answer = wait_for_answer(connection, sent, request)
    if is_table:
        _print_answer(program, answer)
    goal = _goal(connection, request, answer, sent) if delivery.wait else None
    ending = _follow(program, connection, request.model, goal, sent, delivery) if goal else None
    if ending and is_table:
        print_line(
            program.out,
            f"{ending.outcome}: {ending.why}",
            "green" if ending.is_good else "red",
        )
    if not is_table:
        facts = vars(sent) | {"model": request.model, "version": request.version or ""}
        _print_report(program, answer, ending, facts)
    raise typer.Exit(status_of(request, answer, ending))


def _publish(
    connection: Connection, data: bytes, request: ReleaseRequested | CommandGiven, topic: str
) -> Sent:
    """A CloudEvent in binary mode, so that its id is known before it is published."""
    is_release = isinstance(request, ReleaseRequested)
    own_id, kind = uuid.uuid4().hex, RELEASE_TYPE if is_release else COMMAND_TYPE
    attributes = {
        "ce-id": own_id,
        "ce-source": SOURCE,
        "ce-type": kind,
        "ce-specversion": "1.0",
        "content-type": "application/json",
    }
    key = Payload(data, own_id, SOURCE, kind, connection.clock.now()).key
    after = end_of_log(connection.store, request.model)
    return Sent(connection.bus.publish(topic, data, attributes), key, after)


def _goal(
    connection: Connection,
    request: ReleaseRequested | CommandGiven,
    answer: Answer,
    sent: Sent,
) -> Goal | None:
    """What to wait for; None if nothing follows from the message. A release that is unchanged ends
    as it was published before.
    """
    is_release = isinstance(request, ReleaseRequested)
    if answer.kind not in (("accepted", "unchanged") if is_release else ("accepted",)):
        return None
    record = None
    if answer.release:
        record = connection.store.get(repository.release_path(request.model, answer.release))
    event_id = sent.event_id
    if answer.kind == "unchanged" and record:
        event_id = record.data["event_id"]
    return goal_of(request, answer, event_id, record.data if record else None)


def status_of(
    request: ReleaseRequested | CommandGiven, answer: Answer, ending: Ending | None
) -> int:
    """The exit status. A command that changes nothing has not done what it was sent for."""
    if ending:
        return GOOD if ending.is_good else BAD
    is_release = isinstance(request, ReleaseRequested)
    is_good = answer.kind == "accepted" or (answer.kind == "unchanged" and is_release)
    return GOOD if is_good else BAD


# ---- Following


def _follow(
    program: Program,
    connection: Connection,
    model: str,
    goal: Goal,
    sent: Sent,
    delivery: Delivery,
) -> Ending | None:
    """Shows each transition and, on a terminal, how far the rollout is."""
    lines = program.notes if delivery.output is Format.json else program.out
    began, limit = connection.timer(), delivery.timeout
    with _bar(program) as update, _says_that_it_goes_on(program, model):
        for each in follow(connection, model, goal, sent.after):
            for entry in each.entries:
                print_line(lines, entry_line(entry))
            update(each)
            if each.ending:
                return each.ending
            if limit is not None and connection.timer() - began > limit:
                phase = views.status_view(each.state).phase
                raise Failure(
                    f"--timeout: {model} is in phase {phase} after {limit} s, and goes"
                    f" on: {each.state.waiting_for or 'slipway status shows where it is'}"
                )
    return None


@contextmanager
def _says_that_it_goes_on(program: Program, model: str) -> Iterator[None]:
    """After Ctrl-C, which ends the command and not what it published."""
    try:
        yield
    except KeyboardInterrupt:
        print_line(program.notes, f"{model} goes on: slipway status {model} shows where it is")
        raise


@contextmanager
def _bar(program: Program) -> Iterator[Callable[[Progress], None]]:
    """A bar at the end of what is written; nothing in a pipe or on a dumb terminal."""
    console = program.notes
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda each: None
        return
    name = Column(no_wrap=True, min_width=12)
    rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        progress.TextColumn("{task.description}", markup=False, table_column=name),
        progress.BarColumn(20, table_column=Column(min_width=20)),
        progress.TextColumn("{task.fields[waiting_for]}", markup=False, table_column=rest),
    )
    with progress.Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task("", total=None, waiting_for="")

        def update(each: Progress) -> None:
            view = views.status_view(each.state)
            passed = sum(step.state == "passed" for step in view.steps)
            bar.update(
                task,
                description=escape(view.phase),
                completed=passed,
                total=len(view.steps) + 1 if view.steps else None,
                waiting_for=escape(view.paused or view.waiting_for),
            )

        yield update


# ---- Reporting


def _print_answer(program: Program, answer: Answer) -> None:
    style = "red" if answer.kind == "refused" else "yellow" if answer.kind != "accepted" else ""
    if answer.kind == "refused":
        print_line(program.out, "refused", style)
        print_items(program.out, "problems", answer.problems)
    else:
        print_line(program.out, f"{answer.kind}: {answer.why}", style)


def _print_report(
    program: Program, answer: Answer, ending: Ending | None, facts: Mapping[str, str]
) -> None:
    found = {name: facts.get(name, "") for name in ("model", "version", "message_id", "event_id")}
    report = {"answer": answer.kind, "why": answer.why, "problems": answer.problems}
    end = {"outcome": ending.outcome, "outcome_why": ending.why} if ending else {}
    print_json(program.out, found | report | end)
