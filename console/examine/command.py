"""`slipway doctor`: whether Slipway can work in this project, line by line.

Each line is right, wrong with what to do, or left out with the reason: whoever runs it may lack
some rights, and a local stack has no identities and no quota. Functions show that they run by what
they record of themselves (`handlers/self_test.py`), and by what they leave undone: a model whose
pass is overdue, a message that is still in the outbox or not acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from console.connect import Connection
from console.examine import documents, names
from console.examine.answer import Answer, NoAnswer, Reading
from console.examine.finding import NAMED, Finding, left_out, right, wrong
from console.follow import documents as all_of
from console.follow import state_of
from console.options import Format, Output, Project, program_of
from console.output import print_json, print_table
from infra.identity.record import (
    FUNCTIONS,
    LAST_TICK,
    FunctionRecord,
    function_from_document,
    tick_from_document,
)
from infra.settings import (
    POLICY,
    PRICES,
    load_project_policy,
    load_project_prices,
    read_stop,
)
from infra.store import gateways
from infra.store.documents import UnknownSchema
from infra.store.port import Document, Store, StoreError
from infra.version import version
from rollout.notifications.settings import DOCUMENT as NOTIFICATIONS
from rollout.notifications.settings import load_notifications
from rollout.sources.settings import DOCUMENT as SOURCES
from rollout.sources.settings import load_routes
from rollout.state import ModelState

if TYPE_CHECKING:
    from console.examine.topics import Found

Stored = Mapping[str, FunctionRecord] | None
"""What functions recorded of themselves; None if that could not be read."""
DIFFERS = 2
LOCAL = "a local stack has no identities, revisions, queue, scheduler and quota"
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="Where the functions run; without it as they recorded it, else us-central1.",
    ),
]


def doctor(
    context: typer.Context,
    output: Output = Format.table,
    project: Project = None,
    region: Region = None,
) -> None:
    """Check that Slipway can work in this project.

    Each line is right, or says what to do; what you may not read is left out. Exit status 2 if
    a line is wrong.

    \b
    Example:
      slipway doctor
    """
    program = program_of(context)
    with program.open(project) as connection, program.busy("examines the project"):
        findings = [*find(connection, region)]
    if output is Format.json:
        print_json(program.out, findings)
    else:
        rows = (
            (each.check, each.result, f"{each.what}. {each.todo}" if each.todo else each.what)
            for each in findings
        )
        print_table(program.out, ("check", "is", "found"), rows, wide="found")
    if any(each.result == "wrong" for each in findings):
        raise typer.Exit(DIFFERS)


def find(connection: Connection, region: str | None = None) -> Iterator[Finding]:
    records: dict[str, FunctionRecord] | None = None
    try:
        models = [*all_of(connection.store, "models")]
        records = _records(all_of(connection.store, FUNCTIONS))
    except StoreError as error:
        todo = (
            "Check that the project and the database are the right ones, and that you have"
            " roles/datastore.viewer"
        )
        yield wrong("database", f"Firestore of {connection.place} refused: {error}", todo)
    else:
        what = f"{connection.place} is readable, models: {len(models)}"
        yield right("database", what)
        yield from _of_documents(connection, models)
    yield from _of_cloud(connection, records, region)


def _of_documents(connection: Connection, models: list[Document]) -> Iterator[Finding]:
    store, now = connection.store, connection.clock.now()
    states, unreadable = _read(models)
    yield documents.of_models(unreadable)
    yield documents.of_holds(states)
    yield from _settings(store)
    yield documents.of_passes(store.list_due(now - documents.LATE, NAMED + 1), now)
    if recorded := [gateways.from_document(each) for each in all_of(store, gateways.COLLECTION)]:
        yield documents.of_gateways(recorded)
    unsent = (each.data["at"] for each in all_of(store, "outbox"))
    yield documents.of_outbox(unsent, now)
    tick = store.get(LAST_TICK)
    yield documents.of_tick(tick_from_document(tick.data) if tick else None, now)


def _settings(store: Store) -> Iterator[Finding]:
    """Each setting for itself: they are read where people write them, and may be refused there."""

    def policy() -> Finding:
        stored = store.get_many([POLICY])
        return documents.of_policy(POLICY in stored, lambda: load_project_policy(store, stored, ""))

    def prices() -> Finding:
        is_stored = store.get(PRICES) is not None
        return documents.of_prices(is_stored, lambda: load_project_prices(store))

    checks: dict[str, Callable[[], Finding]] = {
        "policy": policy,
        "stop": lambda: documents.of_stop(read_stop(store)),
        "prices": prices,
        "notifications": lambda: documents.of_notifications(
            load_notifications(_data(store, NOTIFICATIONS))
        ),
        "sources": lambda: documents.of_sources(lambda: load_routes(_data(store, SOURCES))),
    }
    for name, check in checks.items():
        try:
            yield check()
        except StoreError as error:
            yield wrong(name, str(error), "Until it can be read, nothing is decided by it")


def _data(store: Store, path: str) -> Mapping[str, object] | None:
    document = store.get(path)
    return document.data if document else None


def _of_cloud(connection: Connection, stored: Stored, region: str | None) -> Iterator[Finding]:
    """What Google's APIs say; the modules for them are imported here and below alone."""
    if connection.topics is None:
        yield left_out("topics", "the bus is embedded in the local stack")
        yield left_out("functions", LOCAL)
        return
    found = connection.topics.subscriptions(names.TOPICS)
    if connection.cloud is None:
        yield from _of_topics(connection.project, found, None)
        yield left_out("functions", LOCAL)
        return
    regions = [each.region for each in (stored or {}).values() if each.region]
    place = region or next(iter(regions), names.REGION)
    now = connection.clock.now()
    reading = connection.cloud.read(place, now)
    yield from _of_topics(connection.project, found, reading)
    yield from _of_functions(connection.project, stored, reading, now)
    yield from _of_parts(connection.project, connection.cloud.database, reading, place)


def _of_topics(
    project: str, found: Mapping[str, Found], reading: Reading | None
) -> Iterator[Finding]:
    """`reading`: None unless it is a project on Google Cloud."""
    from console.examine import messages

    for flow in names.FLOWS:
        url = _url(reading.services[flow.function.service]) if reading else None
        yield messages.of_flow(flow, found[flow.topic], project, url)
    undelivered = reading.undelivered if reading else None
    yield messages.of_dead_letters(
        found[names.DEAD_LETTERS], undelivered, project, is_google=reading is not None
    )
    if reading:
        yield messages.of_checks(found[names.CHECKS], project)
        yield messages.of_backlog(reading.oldest)


def _of_functions(
    project: str, stored: Stored, reading: Reading, now: datetime
) -> Iterator[Finding]:
    from console.examine import functions

    versions = {}
    for function in names.FUNCTIONS:
        name = function.service
        record: FunctionRecord | NoAnswer | None = NoAnswer("denied", "Firestore refused")
        if not function.writes:
            record = functions.last_logged(reading.logged[name])
        elif stored is not None:
            record = stored.get(name)
        if isinstance(record, FunctionRecord):
            versions[name] = record.version
        service, callers = reading.services[name], reading.callers[name]
        yield functions.of_function(function, record, service, callers, project, now)
    yield functions.of_versions(versions, version())


def _of_parts(project: str, database: str, reading: Reading, region: str) -> Iterator[Finding]:
    from console.examine import project as parts

    databases = {database: reading.database, names.SETTINGS_DATABASE: reading.settings}
    yield parts.of_databases(databases, database, reading.services.values(), project)
    yield parts.of_indexes(reading.fields, reading.expiring, project)
    yield parts.of_queue(reading.queue, project, region)
    yield parts.of_scheduler(reading.tick, project, region)
    yield parts.of_quota(reading.used, reading.limits)


def _url(service: Answer) -> str:
    """Empty if the service could not be read."""
    return "" if isinstance(service, NoAnswer) else str(service.get("uri", ""))


def _records(stored: Iterable[Document]) -> dict[str, FunctionRecord]:
    """What functions recorded of themselves."""
    found = (function_from_document(each.data) for each in stored)
    return {record.service: record for record in found if record}


def _read(models: Iterable[Document]) -> tuple[list[ModelState], list[str]]:
    states, problems = [], []
    for document in models:
        try:
            states.append(state_of(document))
        except UnknownSchema as error:
            problems.append(str(error))
    return states, problems
