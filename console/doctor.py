"""`slipway doctor`: whether Slipway can work in this project, line by line.

Each check is right, wrong with what to do, or left out with the reason. Functions show that they
run by what they leave undone: a model whose pass is overdue, a message that is still in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import typer

from console.connect import Connection
from console.follow import documents, state_of
from console.options import Format, Output, Project, program_of
from console.output import print_json, print_table
from console.text import span
from infra.settings import POLICY, load_project_policy, load_stop
from infra.store import outbox
from infra.store.documents import UnknownSchema
from infra.store.port import Document, Due
from rollout.notifications.settings import DOCUMENT as NOTIFICATIONS
from rollout.notifications.settings import Notifications, load_notifications
from rollout.policy.policy import Policy
from rollout.policy.stop import Stop
from rollout.sources.settings import DOCUMENT as SOURCES
from rollout.sources.settings import Route, load_routes
from rollout.state import ModelState

if TYPE_CHECKING:
    from console.topics import Subscription, Topics

Result = Literal["right", "wrong", "left out"]
PUSHED = ("model-releases", "model-approvals", "model-rollout-status", "model-wakeups")
"""Topics whose messages functions get."""
PUBLISHED = ("model-releases-dead",)
LATE = timedelta(minutes=3)
"""The tick of every minute wakes what is due; a pass takes 45 seconds at most."""
DIFFERS = 2
NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One line. `todo`: what to do if it is wrong."""

    check: str
    result: Result
    what: str
    todo: str = ""


def doctor(context: typer.Context, output: Output = Format.table, project: Project = None) -> None:
    """Check that Slipway can work in this project.

    Each line is right, or says what to do. Exit status 2 if one is wrong.

    \b
    Example:
      slipway doctor
    """
    program = program_of(context)
    with program.open(project) as connection:
        findings = [*find(connection)]
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


def find(connection: Connection) -> Iterator[Finding]:
    store, now = connection.store, connection.clock.now()
    models = [*documents(store, "models")]
    yield Finding("database", "right", f"{connection.place} is readable, models: {len(models)}")
    states, unreadable = _read(models)
    yield of_documents(unreadable)
    yield of_holds(states)
    stored = store.get_many([POLICY])
    yield of_policy(POLICY in stored, lambda: load_project_policy(store, stored))
    yield of_stop(load_stop(stored))
    document = store.get(NOTIFICATIONS)
    yield of_notifications(load_notifications(document.data if document else None))
    found = store.get(SOURCES)
    yield of_sources(lambda: load_routes(found.data if found else None))
    yield of_passes(store.list_due(now - LATE, NAMED + 1), now)
    unsent = (each.data["at"] for each in documents(store, "outbox"))
    yield of_outbox(unsent, now)
    if connection.topics is None:
        yield Finding("topics", "left out", "the bus is embedded in the local stack")
    else:
        yield from of_topics(connection.topics)


def _read(models: Iterable[Document]) -> tuple[list[ModelState], list[str]]:
    states, problems = [], []
    for document in models:
        try:
            states.append(state_of(document))
        except UnknownSchema as error:
            problems.append(str(error))
    return states, problems


# ---- Checks of what was read: pure


def of_documents(problems: Iterable[str]) -> Finding:
    found = [*problems]
    if found:
        return Finding("documents", "wrong", "; ".join(found[:NAMED]))
    return Finding("documents", "right", "this version reads all models")


def of_holds(states: Iterable[ModelState]) -> Finding:
    on_hold = [each.desired.model for each in states if each.hold]
    if not on_hold:
        return Finding("holds", "right", "no model is on hold")
    todo = "Read docs/operations.md, Restoring the store, then slipway resume MODEL"
    return Finding(
        "holds", "wrong", f"on hold since the store was restored: {_some(on_hold)}", todo
    )


def of_policy(is_stored: bool, load: Callable[[], Policy]) -> Finding:
    if not is_stored:
        return Finding("policy", "right", "settings/policy does not exist: nothing is capped")
    try:
        load()
    except ValueError as error:
        todo = "Until it is repaired, every release is refused"
        return Finding("policy", "wrong", str(error), todo)
    return Finding("policy", "right", "settings/policy is valid")


def of_stop(stop: Stop | None) -> Finding:
    """Wrong, since nobody should forget it."""
    if stop is None:
        return Finding("stop", "right", "Slipway is not stopped")
    return Finding("stop", "wrong", f"Slipway is {stop.why}", "slipway start ends it")


def of_notifications(settings: Notifications) -> Finding:
    if settings.problems:
        what = "; ".join(settings.problems[:NAMED])
        return Finding("notifications", "wrong", what, "See docs/notifications.md")
    names = _some([each.name for each in settings.destinations]) or "no destination"
    return Finding("notifications", "right", f"sent to {names}")


def of_sources(load: Callable[[], tuple[Route, ...]]) -> Finding:
    try:
        routes = load()
    except ValueError as error:
        todo = "Until it is repaired, no artifact is released: docs/sources.md"
        return Finding("sources", "wrong", str(error), todo)
    names = _some([each.name for each in routes]) or "no route"
    return Finding("sources", "right", f"artifacts are released by {names}")


def of_passes(overdue: Iterable[Due], now: datetime) -> Finding:
    found = [*overdue]
    if not found:
        return Finding("passes", "right", "no model waits longer than it should")
    longest = span(now - found[0].requeue_at)
    todo = "Look whether Cloud Scheduler ticks, and at the logs of on_wakeup"
    names = _some([each.model for each in found])
    return Finding("passes", "wrong", f"overdue for {longest} and less: {names}", todo)


def of_outbox(unsent: Iterable[datetime], now: datetime) -> Finding:
    late = [at for at in unsent if now - at > outbox.GRACE + LATE]
    if not late:
        return Finding("outbox", "right", "all messages are published")
    what = f"messages not published: {len(late)}, the oldest since {span(now - min(late))}"
    todo = "Look at the logs for what Pub/Sub refuses"
    return Finding("outbox", "wrong", what, todo)


def of_topics(topics: Topics) -> Iterator[Finding]:
    for name in (*PUSHED, *PUBLISHED):
        subscriptions = topics.subscriptions(name)
        if isinstance(subscriptions, str):
            yield Finding(f"topic {name}", "left out", subscriptions)
        else:
            yield of_topic(name, subscriptions)


def of_topic(name: str, subscriptions: tuple[Subscription, ...] | None) -> Finding:
    check, repair = f"topic {name}", "Run deploy/bootstrap.sh"
    if subscriptions is None:
        return Finding(check, "wrong", "it does not exist", repair)
    broken = [each.name for each in subscriptions if not each.is_active]
    if broken:
        todo = "Look at the push endpoint and its identity"
        return Finding(check, "wrong", f"cannot deliver: {_some(broken)}", todo)
    pushing = [each.name for each in subscriptions if each.push_endpoint]
    if name not in PUSHED:
        return Finding(check, "right", f"subscriptions: {len(subscriptions)}")
    if not pushing:
        todo = f"{repair}, then deploy/functions.sh"
        return Finding(check, "wrong", "no subscription pushes to a function", todo)
    return Finding(check, "right", f"pushed by {_some(pushing)}")


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
