"""The command `rehearse`: runs a release on the emulator before it is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.connect import Failure
from console.options import Format, Output, Program, Project, program_of
from console.output import print_items, print_json, print_line, print_table
from console.send import read_event
from console.text import span
from infra.settings import POLICY, PRICES
from infra.store.port import Store
from rollout.spec.message import Invalid, ReleaseRequested, decode_json, parse

if TYPE_CHECKING:
    from console.rehearsal import Rehearsal
    from handlers.forecast import Inputs, RolloutPlan, Usage

GOOD, BAD = 0, 2


def rehearse(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The event's file; - for stdin.")],
    picture: Annotated[
        str | None,
        typer.Option("--picture", metavar="SVG", help="Draw the rollout as planned to a file."),
    ] = None,
    requests: Annotated[
        float,
        typer.Option(
            "--requests", min=0, metavar="N", help="Requests a second, of which 1 % are bad."
        ),
    ] = 100,
    approve_after: Annotated[
        int,
        typer.Option(
            "--approve-after", min=0, metavar="SECONDS", help="How long each approval takes."
        ),
    ] = 0,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Run a release on the emulator, without publishing it.

    Copies the model as it is now into memory and rolls the release out there, with Slipway's own
    functions and in virtual time: as planned, with instances that never get healthy, that start
    half as fast, without capacity, and with gates that fail. Approvals and requests are played,
    freeze windows hold by the virtual clock, and other models keep what they may use.

    \b
    Exit status:
      0  as planned, it succeeds
      1  an error
      2  it does not succeed, or would be refused

    \b
    Example:
      slipway rehearse release.json --picture rollout.svg
    """
    # Imported late: it takes long.
    from handlers.forecast import (
        Inputs,
        RolloutPlan,
        Usage,
        read_inputs,
        rollout_plan,
        usage_of_others,
    )

    program = program_of(context)
    event = read_event(file)
    try:
        request = parse(decode_json(event))
    except Invalid as error:
        problems = tuple(map(str, error.problems))
        _refuse(program, output, RolloutPlan("", "", problems=problems, is_refused=True))
        return
    if not isinstance(request, ReleaseRequested):
        raise Failure(f"FILE: must have a release, and has the command {request.command}")
    with program.open(project) as connection, program.busy("reading the fleet"):
        inputs = read_inputs(connection.world, request)
        settings = _settings(connection.store)
        others = Usage()
        if isinstance(inputs, Inputs):
            others = usage_of_others(connection.world, inputs.policy, inputs.state.desired.model)
    if isinstance(inputs, RolloutPlan):
        _refuse(program, output, inputs)
        return
    plan = rollout_plan(inputs)
    scene = Scene(inputs, plan, event, settings, others, requests, approve_after)
    found = tuple(_rehearse_all(program, scene))
    if picture is not None:
        _draw(picture, inputs, found[0])
    if output is Format.json:
        summaries = [_summary(each) for each in found]
        print_json(
            program.out,
            {"plan": plan, "assumed": assumptions_of(scene), "rehearsals": summaries},
        )
    else:
        _print(program, scene, found)
    raise typer.Exit(GOOD if found[0].outcome == "succeeded" else BAD)


def _settings(store: Store) -> dict[str, object]:
    return {path: each.data for path, each in store.get_many([POLICY, PRICES]).items()}


def _refuse(program: Program, output: Format, plan: RolloutPlan) -> None:
    if output is Format.json:
        print_json(program.out, {"plan": plan, "rehearsals": []})
    else:
        print_line(program.out, "refused" if plan.is_refused else "nothing to rehearse", "red")
        print_items(program.out, "why", (*plan.problems, *plan.notes))
    raise typer.Exit(BAD if plan.is_refused else GOOD)


@dataclass(frozen=True)
class Scene:
    """What is rehearsed, and under which assumptions."""

    inputs: Inputs
    plan: RolloutPlan
    event: bytes
    settings: dict[str, object]
    others: Usage
    requests: float
    approve_after: int


def _rehearse_all(program: Program, scene: Scene) -> Iterator[Rehearsal]:
    try:
        from console import rehearsal
    except ImportError as error:
        raise Failure(
            f"rehearse needs the emulator ({error}); install it with pipx install '.[rehearse]'"
        ) from error
    inputs = scene.inputs
    body = rehearsal.rehearsed_event(json.loads(scene.event), inputs)
    assumed = rehearsal.Assumptions(scene.others, scene.requests, scene.approve_after)
    for case in rehearsal.cases_of(inputs):
        with program.busy(f"rehearsing: {case}"):
            yield rehearsal.rehearse(inputs, body, scene.settings, case, scene.plan, assumed)


def assumptions_of(scene: Scene) -> tuple[str, ...]:
    """What was played, and what a rehearsal cannot show."""
    rollout = scene.inputs.release.spec.rollout
    found = [
        f"instances are healthy after {span(timedelta(seconds=scene.plan.start_seconds))} (from"
        f" {scene.plan.start_basis})",
        f"{scene.requests:g} requests a second (--requests), 1 % of them bad"
        + (", for its gates" if rollout.gates else ""),
    ]
    if any(each.approval for each in scene.plan.steps):
        after = span(timedelta(seconds=scene.approve_after))
        found.append(f"each approval comes after {after} (--approve-after)")
    if scene.inputs.policy.has_project_caps:
        found.append(f"other models may use {scene.others.instances} instances of the caps")
    if stop := scene.inputs.policy.stop:
        found.append(f"Slipway is {stop.why}, and goes on at once")
    found.append(
        "left out: changes by others meanwhile, load that changes, and autoscaling by anything but"
        " CPU"
    )
    return tuple(found)


def _summary(found: Rehearsal) -> dict[str, object]:
    return {name: each for name, each in vars(found).items() if name != "samples"}


def _print(program: Program, scene: Scene, found: tuple[Rehearsal, ...]) -> None:
    out, plan = program.out, scene.plan
    print_line(out, f"release {plan.version} of {plan.model}, on the emulator")
    print_items(out, "would fail", plan.problems)
    print_items(out, "assumed", assumptions_of(scene))
    out.print()
    rows = [_row(each, plan.currency) for each in found]
    predicted = (
        "plan",
        "",
        span(timedelta(seconds=plan.seconds)),
        plan.peak.instances,
        plan.lowest,
    )
    columns = ("if", "ends", "after", "peak", "lowest", "cost", "serves")
    print_table(out, columns, ((*predicted, "", ""), *rows), wide="ends")
    out.print()
    timeline = (
        (_clock(each.seconds), f"{each.from_} -> {each.to}", each.why) for each in found[0].timeline
    )
    print_table(out, ("after", "as planned", "why"), timeline, wide="why")
    for each in found[1:]:
        print_items(out, f"{each.case}: {each.about}", (each.why,))


def _row(each: Rehearsal, currency: str) -> tuple[object, ...]:
    ends = each.outcome or "not yet"
    cost = f"{each.cost:.2f} {currency}" if each.cost != float("inf") else "no price"
    after = span(timedelta(seconds=each.seconds))
    return (
        each.case,
        f"{ends}: {each.reason}" if each.reason else ends,
        after,
        each.peak,
        each.lowest,
        cost,
        each.serving or "-",
    )


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _draw(file: str, inputs: Inputs, found: Rehearsal) -> None:
    from local import picture, report
    from local.story import Scenario

    entries = tuple(
        report.Entry(
            found.samples[0].at + timedelta(seconds=max(0, each.seconds)),
            inputs.release.version,
            each.from_,
            each.to,
            each.why,
            found.reason or None,
            found.outcome if each is found.timeline[-1] else None,
        )
        for each in found.timeline
    )
    samples: tuple[report.Sample, ...] = ()
    for each in found.samples:
        samples = report.with_sample(
            samples, report.Sample(each.at, each.by_version, each.healthy, each.shares)
        )
    stable = inputs.state.rollout.stable
    versions = [inputs.release.version, *([stable.version] if stable else [])]
    shares = {version: () for version in versions if any(each.shares for each in samples)}
    drawn = report.Report(
        backend="",
        model=inputs.state.desired.model,
        speed=1,
        floor=found.lowest,
        releases=(*(report.Story(each) for each in versions[1:]), *report.stories(entries)),
        instances=samples,
        scenario=Scenario("", 1, {}, [], (), shares),
    )
    try:
        Path(file).write_text(picture.draw(drawn, "Rehearsed on the emulator, as planned."))
    except OSError as error:
        raise Failure(f"--picture: cannot write {file!r}: {error.strerror or error}") from error
