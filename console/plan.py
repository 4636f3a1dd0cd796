"""The command `plan`: what a release would do, before it is published. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from console.connect import Failure
from console.options import Format, Output, Program, Project, program_of
from console.output import print_fields, print_items, print_json, print_line, print_table
from console.planned import write_plan
from console.send import read_event
from console.text import span, usage_text
from rollout.spec.message import Invalid, ReleaseRequested, decode_json, parse

if TYPE_CHECKING:
    from handlers.forecast import PlannedStep, RolloutPlan

SAME, DIFFERS = 0, 2
SIGNS = {"+": "green", "-": "red", "~": "yellow", "-/+": "yellow"}


def plan(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The event's file; - for stdin.")],
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="PLAN", help="Write the plan to a file, for slipway publish --plan."
        ),
    ] = None,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Show what a release would do, without publishing it.

    Reads the documents, and Compute Engine (roles/compute.viewer), and writes nothing. + creates,
    ~ updates in place, -/+ replaces, - deletes. Steps say how many instances of each release there
    are, the peak also what Compute Engine adds while it replaces them.

    \b
    Exit status:
      0  nothing would change
      1  an error
      2  it would change something, or would be refused

    \b
    Example:
      slipway plan release.json
      slipway plan - < release.json
      slipway plan release.json --out plan.json
    """
    from handlers.forecast import RolloutPlan, forecast  # imported late: it takes long

    program = program_of(context)
    event, place = read_event(file), ""
    try:
        request = parse(decode_json(event))
    except Invalid as error:
        problems = tuple(map(str, error.problems))
        found = RolloutPlan("", "", problems=problems, is_refused=True)
    else:
        if not isinstance(request, ReleaseRequested):
            raise Failure(f"FILE: must have a release, and has the command {request.command}")
        with program.open(project) as connection, program.busy("reading the fleet"):
            found, place = forecast(connection.world, request), connection.project
    if output is Format.json:
        print_json(program.out, found)
    else:
        _print_plan(program, found)
    if out is not None:
        _write(program, out, place, event, found)
    raise typer.Exit(SAME if found.is_unchanged else DIFFERS)


def _write(program: Program, file: str, project: str, event: bytes, found: RolloutPlan) -> None:
    """An old file would remain, so that a refusal is an error."""
    if found.is_unchanged:
        print_line(program.notes, "--out: there is nothing to apply, so no plan was written")
    elif not found.hash:
        raise Failure("--out: the release would be refused, so no plan was written")
    else:
        write_plan(file, project, event, found)


def _print_plan(program: Program, found: RolloutPlan) -> None:
    out = program.out
    if found.is_refused:
        print_line(out, "refused", "red")
        print_items(out, "problems", found.problems)
        return
    print_fields(out, _head(found))
    print_items(out, "would fail", found.problems)
    print_items(out, "notes", found.notes)
    if found.is_unchanged:
        out.print()
        print_line(out, "nothing would change")
        return
    if found.spec:
        out.print()
        rows = ((each.path, _change(each.before, each.value), each.origin) for each in found.spec)
        print_table(out, ("spec", "value", "from"), rows, wide="value")
    if found.changes:
        out.print()
        changes = ((each.sign, each.resource, each.why) for each in found.changes)
        print_table(out, ("", "resource", "why"), changes, wide="why")
    if found.steps:
        out.print()
        columns = ("step", "asks for", "old", "new", "weight", "surge", "peak", "lowest", "takes")
        print_table(out, (*columns, "back"), map(_row, found.steps), wide="asks for")
        out.print()
        print_fields(out, _sums(found))


def _head(found: RolloutPlan) -> Iterator[tuple[str, object]]:
    yield "release", f"{found.version} of {found.model}"
    yield "serves", f"release {found.serving}" if found.serving else "nothing yet"
    yield "inherits", f"from release {found.base}" if found.base else "nothing"
    if found.steps:
        yield "strategy", f"{found.strategy}, capacity {found.capacity}"
    yield "policy", found.policy
    yield "preflight", found.preflight


def _change(before: str, after: str) -> str:
    return f"{before} -> {after}" if before else after


def _row(step: PlannedStep) -> tuple[object, ...]:
    takes = span(timedelta(seconds=step.start_seconds + step.hold_seconds))
    goal = step.goal + (f" (gates: {', '.join(step.gates)})" if step.gates else "")
    back = step.seconds_to_roll_back
    return (
        step.number,
        goal,
        step.stable,
        step.candidate,
        "-" if step.weight is None else f"{step.weight:g} %",
        step.surge,
        step.peak.instances,
        step.lowest,
        "approval" if step.approval else takes,
        "-" if back is None else span(timedelta(seconds=back)),
    )


def _sums(found: RolloutPlan) -> Iterator[tuple[str, object]]:
    yield "peak", usage_text(found.peak, found.currency)
    yield "policy counts", usage_text(found.most, found.currency)
    yield "lowest", f"{found.lowest} healthy instances" if found.serving else ""
    if found.bake_seconds:
        yield "bake", span(timedelta(seconds=found.bake_seconds))
    start = span(timedelta(seconds=found.start_seconds))
    approvals = " and approvals" if any(each.approval for each in found.steps) else ""
    total = span(timedelta(seconds=found.seconds))
    if found.untimed_gates:
        total = f"at least {total}"
    yield (
        "takes",
        f"{total}{approvals}, with {start} until instances are healthy (from"
        + (f" {found.start_basis})"),
    )
