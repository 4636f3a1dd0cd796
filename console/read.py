"""The commands that read: `status`, `models`, `history`, `why`, `events`, `quarantine`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from console import views
from console.connect import Connection, Failure
from console.course import comparison_rows, short_comparison
from console.follow import (
    documents,
    entries,
    load,
    overviews,
    place_after,
    place_before,
    state_of,
)
from console.options import (
    Format,
    Model,
    Output,
    Program,
    Project,
    check_model,
    check_version,
    program_of,
)
from console.output import (
    print_fields,
    print_items,
    print_json,
    print_line,
    print_table,
)
from console.planned import read_prediction
from console.text import clock, count_text, moment, plain, since, span
from console.views import EntryView, ModelView, QuarantineView, StatusView
from infra.settings import read_stop
from infra.store import repository
from infra.store.documents import UnknownSchema
from rollout.state import ModelState

WATCH_SECONDS = 1.0
EVENTS_SECONDS = 2.0
LAST = 10
IGNORED = timedelta(hours=24)
"""Of artifacts that are no release, `events` shows those of so long."""
LATE = timedelta(minutes=10)
"""The record of one has the time of its message, and may be written so much later."""
MARKS = {"passed": "x", "present": ">", "next": " "}


# ---- status


def status(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The model's name; without it, all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew until Ctrl-C.")] = False,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Show what runs now, what it waits for, and what is wrong.

    Without MODEL one line for each model, with those first that are under way or need a person.

    \b
    Example:
      slipway status
      slipway status tiny --watch
    """
    program = program_of(context)
    name = check_model(model) if model else None
    with program.open(project) as connection:
        if not watch:
            _show_status(program, connection, name, output)
            return
        with suppress(KeyboardInterrupt):
            _watch(program, connection, lambda: _show_status(program, connection, name, output))


def _watch(program: Program, connection: Connection, show: Callable[[], None]) -> None:
    """Writes anew what has changed: in place on a terminal, below the last one elsewhere."""
    last = ""
    while True:
        with program.out.capture() as capture:
            show()
        text = capture.get()
        if text != last:
            if program.out.is_terminal and not program.out.is_dumb_terminal:
                program.out.clear()
            program.out.out(text, end="", highlight=False)
            last = text
        connection.sleep(WATCH_SECONDS)


def _show_status(
    program: Program, connection: Connection, model: str | None, output: Format
) -> None:
    if output is Format.table and (stop := read_stop(connection.store)):
        print_line(program.out, f"Slipway is {stop.why}; slipway start ends it", "red")
    if model is None:
        _show_all(program, connection, output)
        return
    view = views.status_view(load(connection.store, model))
    if output is Format.json:
        print_json(program.out, view)
    else:
        _print_status(program, connection, view)


def _show_all(program: Program, connection: Connection, output: Format) -> None:
    found = sorted(overviews(connection.store), key=lambda each: each.key)
    if output is Format.json:
        print_json(program.out, found)
    elif not found:
        print_line(program.notes, f"{connection.place} has no models")
    else:
        rows = (
            (each.model, each.stable or "-", each.coming or "-", each.phase, each.waiting_for)
            for each in found
        )
        columns = ("model", "serves", "next", "phase", "waiting for")
        print_table(program.out, columns, rows, wide="waiting for")


def _print_status(program: Program, connection: Connection, view: StatusView) -> None:
    out, now = program.out, connection.clock.now()
    print_fields(out, _status_fields(view, now))
    if view.steps:
        out.print()
        rows = ((MARKS[each.state], each.number, each.goal) for each in view.steps)
        print_table(out, ("", "step", "asks for"), rows, wide="asks for")
    if view.gates:
        out.print()
        rows_of_gates = ((each.gate, each.verdict, each.why) for each in view.gates)
        print_table(out, ("gate", "verdict", "why"), rows_of_gates, wide="why")
    if view.conditions:
        out.print()
        conditions = ((each.type, clock(each.since), each.why) for each in view.conditions)
        print_table(out, ("condition", "since", "why"), conditions, wide="why")


def _status_fields(view: StatusView, now: datetime) -> Iterator[tuple[str, object]]:
    yield "model", view.model
    yield "serves", f"release {view.stable}" if view.stable else "nothing"
    yield "candidate", f"release {view.candidate}" if view.candidate else ""
    yield "next", f"release {view.desired}, not begun" if view.desired else ""
    yield "phase", view.phase
    yield "since", since(view.phase_since, now) if view.phase_since else ""
    yield "because", view.why
    if view.step:
        yield "step", f"{view.step} of {len(view.steps)}"
    if view.weight_percent is not None:
        yield "requests", f"{view.weight_percent:g} % to release {view.candidate}"
    if view.healthy is not None and view.needed:
        release = view.candidate or view.stable
        yield "healthy", f"{view.healthy} of {view.needed} of release {release}"
    for each in view.counts:
        yield f"release {each.release}", count_text(each)
    if view.counted_at:
        yield "counted", since(view.counted_at, now)
    yield "on hold", view.on_hold
    yield "paused", view.paused
    yield "waiting for", view.waiting_for
    if view.until and view.until > now:
        yield "until", f"{moment(view.until)}, in {span(view.until - now)}: {view.until_what}"
    if view.next_pass:
        due = view.next_pass - now
        yield "next pass", f"in {span(due)}" if due > timedelta(0) else "due now"
    if view.seconds_to_roll_back is not None:
        yield "way back", f"{span(timedelta(seconds=view.seconds_to_roll_back))} to roll back"
    yield "previous", f"release {view.previous}" if view.previous else ""
    yield "last failed", f"release {view.last_failed}" if view.last_failed else ""
    for name, value in view.outputs.items():
        yield name.removesuffix("_url").replace("_", " "), value


# ---- models


class UnreadableModel:
    """A model whose document was written by another Slipway."""

    def __init__(self, model: str, why: str) -> None:
        self.model, self.why = model, why


def _states(connection: Connection) -> Iterator[ModelState | UnreadableModel]:
    for document in documents(connection.store, "models"):
        try:
            yield state_of(document)
        except UnknownSchema as error:
            yield UnreadableModel(document.path.rpartition("/")[2], str(error))


def models(context: typer.Context, output: Output = Format.table, project: Project = None) -> None:
    """List the models: what serves, on what, and where.

    \b
    Example:
      slipway models
      slipway models --output json
    """
    program = program_of(context)
    with program.open(project) as connection:
        found = [
            views.model_view(each) if isinstance(each, ModelState) else _unreadable(each)
            for each in _states(connection)
        ]
    if output is Format.json:
        print_json(program.out, found)
    elif not found:
        print_line(program.notes, f"{connection.place} has no models")
    else:
        rows = (
            (
                each.model,
                each.stable or "-",
                each.machine,
                each.region,
                each.instances,
                each.strategy,
                each.address or "-",
            )
            for each in found
        )
        columns = ("model", "serves", "machine", "region", "size", "strategy", "address")
        print_table(program.out, columns, rows)


def _unreadable(model: UnreadableModel) -> ModelView:
    nothing = dict.fromkeys(
        ("candidate", "phase", "region", "instances", "strategy", "address"), ""
    )
    return ModelView(model.model, "?", machine=model.why, conditions=("Unreadable",), **nothing)


# ---- history and why


def history(
    context: typer.Context, model: Model, output: Output = Format.table, project: Project = None
) -> None:
    """List the releases of a model, and which it may return to.

    The newest comes first. A release with "yes" below BACK has served:
    slipway rollback MODEL --version VERSION returns to it. 6/5 min: its rollout took 6 minutes, and
    5 were predicted when it began.

    \b
    Example:
      slipway history tiny
    """
    program, name = program_of(context), check_model(model)
    with program.open(project) as connection:
        state = load(connection.store, name)
        found = _history(connection, state)
    if output is Format.json:
        print_json(program.out, found)
        return
    rows = (
        (
            each.version,
            each.outcome,
            each.reason or "-",
            "yes" if each.rollback else "",
            f"{each.released_at:%Y-%m-%d %H:%M}",
            short_comparison(each.course),
            each.requested_by or "-",
        )
        for each in found
    )
    columns = ("release", "outcome", "reason", "back", "released", "took/plan", "by")
    print_table(program.out, columns, rows, wide="by")


def _history(connection: Connection, state: ModelState) -> tuple[views.ReleaseView, ...]:
    records = documents(connection.store, f"models/{state.desired.model}/releases")
    return views.history_view((each.data for each in records), state, connection.clock.now())


def why(
    context: typer.Context,
    model: Model,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION", help="The release; without it the present or the newest one."
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="PLAN",
            help="Compare with this prediction: the file of slipway plan --out, or what slipway"
            " rehearse --output json wrote.",
        ),
    ] = None,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Explain what became of a release.

    The evidence comes first, then what was predicted when the rollout began beside what was
    observed, then each decision. How long it took is counted from the first step to the end, with
    approvals and pauses, which no prediction knows.

    \b
    Example:
      slipway why tiny
      slipway why tiny 3
      slipway why tiny 3 --plan plan.json
    """
    planned = read_prediction(plan) if plan else None
    program, name = program_of(context), check_model(model)
    with program.open(project) as connection:
        state = load(connection.store, name)
        named = check_version(version) if version else ""
        releases = _history(connection, state)
        subject = named or views.release_to_explain(state, releases)
        course = next((e.course for e in releases if e.version == subject), views.NO_COMPARISON)
        if planned and planned[0] != (name, subject):
            of, version_of = planned[0]
            raise Failure(f"--plan: is about release {version_of} of {of}, not {subject} of {name}")
        if planned:
            course = replace(course, predicted=planned[1])
        view = views.why_view(name, subject, entries(connection.store, name), course)
    if view is None:
        raise Failure(
            f"VERSION: nothing is known of a release {subject} of {name};"
            f" slipway history {name} lists all"
        )
    if output is Format.json:
        print_json(program.out, view)
        return
    fields = (("release", f"{subject} of {name}"), ("state", view.state), ("reason", view.reason))
    took = span(timedelta(seconds=view.seconds)) if view.seconds is not None else ""
    print_fields(program.out, (*fields, ("why", view.why), ("took", took)))
    print_items(program.out, "evidence", view.observed)
    print_items(program.out, "gates", view.decisions[-1].gates)
    if course.actual or course.predicted:
        program.out.print()
        columns = ("rollout", "predicted", "actual")
        print_table(program.out, columns, comparison_rows(course))
    program.out.print()
    rows = ((clock(e.at), f"{e.from_} -> {e.to}", e.why) for e in view.decisions)
    print_table(program.out, ("at", "decision", "why"), rows, wide="why")


# ---- events


def events(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The model's name; without it, all.")
    ] = None,
    last: Annotated[
        int,
        typer.Option("--last", min=0, max=1000, metavar="N", help="Begin with so many past ones."),
    ] = LAST,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")
    ] = True,
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Show transitions, refusals and ignored artifacts, live.

    One line for each; with --output json one JSON object on each line.

    \b
    Example:
      slipway events
      slipway events tiny --last 50 --no-follow
    """
    program = program_of(context)
    name = check_model(model) if model else None
    with program.open(project) as connection:
        if name:
            load(connection.store, name)
        feed = Feed(connection, name)
        for entry in feed.past(last):
            _print_entry(program, entry, output)
        with suppress(KeyboardInterrupt):
            while follow:
                connection.sleep(EVENTS_SECONDS)
                for entry in feed.new():
                    _print_entry(program, entry, output)


class Feed:
    """What is new in the logs, from poll to poll. A model's log is read only if its document has a
    new revision.
    """

    def __init__(self, connection: Connection, model: str | None) -> None:
        self._connection, self._model = connection, model
        self._places: dict[str, str] = {}
        self._revisions: dict[str, int] = {}
        self._refused: set[str] = set()
        self._ignored: set[str] = set()
        self._ignored_since = connection.clock.now() - IGNORED

    def past(self, last: int) -> list[EntryView]:
        found: list[EntryView] = []
        for model, revision in self._present():
            self._revisions[model] = revision
            found += self._last_of(model, revision, last)
            self._places[model] = place_after(revision)
        found = [*found, *self._new_refusals(), *self._new_ignored()]
        found.sort(key=lambda each: each.at)
        return found[-last:] if last else []

    def new(self) -> list[EntryView]:
        found: list[EntryView] = []
        for model, revision in self._present():
            if self._revisions.get(model) == revision:
                continue
            self._revisions[model] = revision
            found += self._new_of(model)
        found = [*found, *self._new_refusals(), *self._new_ignored()]
        return sorted(found, key=lambda each: each.at)

    def _last_of(self, model: str, revision: int, last: int) -> list[EntryView]:
        """The last entries of a model's log. Not every revision has one."""
        back = last
        while back:
            self._places[model] = place_before(revision - back)
            found = self._new_of(model)
            if len(found) >= last or back > revision:
                return found[-last:]
            back *= 4
        return []

    def _new_of(self, model: str) -> list[EntryView]:
        """The new entries of a model's log, without refusals, which also have records."""
        written = [*entries(self._connection.store, model, self._places.get(model))]
        if written:
            self._places[model] = written[-1].id
        return [each for each in written if each.to != "quarantined"]

    def _present(self) -> Iterator[tuple[str, int]]:
        store = self._connection.store
        if self._model:
            document = store.get(repository.model_path(self._model))
            found = [document] if document else []
        else:
            found = [*documents(store, "models")]
        for each in found:
            yield each.path.rpartition("/")[2], each.data.get("revision", 0)

    def _new_refusals(self) -> Iterator[EntryView]:
        for document in documents(self._connection.store, "quarantine"):
            key, data = document.path.rpartition("/")[2], document.data
            if key in self._refused or self._model not in (None, data.get("model")):
                continue
            self._refused.add(key)
            yield _refusal(key, data)

    def _new_ignored(self) -> Iterator[EntryView]:
        """Artifacts that are no release, and so of no model."""
        if self._model:
            return
        now, since = self._connection.clock.now(), f"{self._ignored_since:%Y%m%dT%H%M%S}"
        for document in documents(self._connection.store, "ignored", since):
            key = document.path.rpartition("/")[2]
            if key not in self._ignored:
                self._ignored.add(key)
                yield _ignored(key, document.data)
        self._ignored_since = max(self._ignored_since, now - LATE)


def _ignored(key: str, data: dict[str, Any]) -> EntryView:
    why = f"{data['about']}: {data['why']}" if data["about"] else data["why"]
    about = {"model": "", "release": "", "from": data["source"] or "unknown", "to": "ignored"}
    event = {"at": data["at"], "why": why, "event_id": data["event_id"]}
    return views.entry_view(key, about | event)


def _refusal(key: str, data: dict[str, Any]) -> EntryView:
    return views.entry_view(
        key,
        {
            "at": data["at"],
            "model": data.get("model") or "",
            "release": data.get("version") or "",
            "from": "published",
            "to": "quarantined",
            "why": data.get("why", ""),
            "problems": data.get("problems", ()),
            "event_id": key,
        },
    )


def _print_entry(program: Program, entry: EntryView, output: Format) -> None:
    if output is Format.json:
        print_json(program.out, entry, is_line=True)
    else:
        print_line(program.out, entry_line(entry))


def entry_line(entry: EntryView) -> str:
    subject = " ".join(each for each in (entry.model or "?", entry.release) if each)
    return f"{clock(entry.at)} {subject}: {entry.from_} -> {entry.to}: {entry.why}"


# ---- quarantine


def quarantine_list(
    context: typer.Context, output: Output = Format.table, project: Project = None
) -> None:
    """List the messages that were refused, newest first.

    \b
    Example:
      slipway quarantine list
    """
    program = program_of(context)
    with program.open(project) as connection:
        records = documents(connection.store, "quarantine")
        found = [_quarantine_view(each.path.rpartition("/")[2], each.data) for each in records]
    found.sort(key=lambda each: each.at, reverse=True)
    if output is Format.json:
        print_json(program.out, found)
    elif not found:
        print_line(program.notes, f"{connection.place} has refused nothing")
    else:
        rows = (
            (each.id, moment(each.at), each.model or "-", each.version or "-", _first(each))
            for each in found
        )
        columns = ("id", "at", "model", "version", "problem")
        print_table(program.out, columns, rows, wide="problem")


def quarantine_show(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="ID", help="As slipway quarantine list has it.")],
    output: Output = Format.table,
    project: Project = None,
) -> None:
    """Show a refused message with all its problems. What could be a secret is hidden.

    \b
    Example:
      slipway quarantine show 1234567890
    """
    program = program_of(context)
    if not key.isalnum():
        raise Failure(f"ID: must be letters and digits, got {key[:80]!r}")
    with program.open(project) as connection:
        document = connection.store.get(f"quarantine/{key}")
    if document is None:
        raise Failure(f"ID: there is no refused message {key}; slipway quarantine list lists all")
    view = _quarantine_view(key, document.data)
    if output is Format.json:
        print_json(program.out, view)
        return
    print_fields(
        program.out,
        (
            ("id", view.id),
            ("at", moment(view.at)),
            ("model", view.model),
            ("version", view.version),
            ("size", f"{view.size} bytes"),
        ),
    )
    print_items(program.out, "problems", view.problems)
    program.out.print()
    program.out.print(plain("message", "bold"))
    for line in view.message.splitlines():
        print_line(program.out, line)


def _first(view: QuarantineView) -> str:
    more = len(view.problems) - 1
    return view.problems[0] + (f" (and {more} more)" if more else "")


def _quarantine_view(key: str, data: dict[str, Any]) -> QuarantineView:
    try:
        message = base64.b64decode(data.get("raw") or "").decode(errors="replace")
    except binascii.Error:
        message = ""
    return views.quarantine_view(key, data, message)
