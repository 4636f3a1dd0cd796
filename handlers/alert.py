"""Handles a notification of Cloud Monitoring: an open incident fails the releases that name its
alert policy in `rollout.abort_on_alerts`.

Called by `main.on_alert`. Which models are concerned is in their documents, and no index of it is
kept that could be out of date: all are listed, page after page. That a release has failed is saved
by compare-and-set, and the next pass acts on it. Invariants: a notification that is repeated, or
reports an incident that a person has judged (`retry`), changes nothing; and a document that cannot
be read keeps no other model from failing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from handlers.release import handle_message
from handlers.save_change import save_change
from infra.bus.alerts import parse_alert
from infra.bus.envelope import Message, Payload
from infra.store import outbox, repository
from infra.store.documents import UnknownSchema, from_document
from infra.store.port import MODELS
from infra.wiring import World
from rollout.alerts import Alert, fail, failed_release

PAGE = 200
SOURCE = "//monitoring.googleapis.com"

log = logging.getLogger("slipway")


def handle(world: World, event: Any) -> None:
    handle_message(world, event, accept_alert)


def accept_alert(world: World, message: Message) -> None:
    """Save what the notification fails. If a model cannot be read or written, it is delivered
    again, after all others have been.
    """
    alert = parse_alert(message.data)
    if alert is None:
        log.info("alert channel tested", extra={"fields": {"event_id": message.id}})
        return
    if not alert.is_open:
        return
    problems: list[Exception] = []
    failed = [
        model
        for model in _concerned(world, alert, problems)
        if _is_failed(world, model, alert, message, problems)
    ]
    fields = {"event_id": message.id, "why": str(alert), "models": len(failed)}
    log.warning("alert received", extra={"fields": fields})
    if problems:
        raise problems[0]


def _concerned(world: World, alert: Alert, problems: list[Exception]) -> Iterator[str]:
    """The models whose documents name the alert's policy in a rollout that it concerns."""
    after: str | None = None
    while page := world.store.list(MODELS, PAGE, after):
        after = page[-1].path.rpartition("/")[2]
        for document in page:
            try:
                state = from_document(document.data)
            except UnknownSchema as error:
                problems.append(error)
                continue
            if failed_release(state.rollout, alert):
                yield state.desired.model


def _is_failed(
    world: World, model: str, alert: Alert, message: Message, problems: list[Exception]
) -> bool:
    try:
        is_failed = repository.retry_on_conflict(world, lambda: _fail(world, model, alert, message))
        if is_failed:
            outbox.wake(world, model)
        return is_failed
    except Exception as error:  # the other models come first; then it is raised
        fields = {"model": model, "event_id": message.id, "why": repr(error)}
        log.warning("alert not saved", extra={"fields": fields})
        problems.append(error)
        return False


def _fail(world: World, model: str, alert: Alert, message: Message) -> bool:
    payload = Payload(message.data, alert.incident, SOURCE, "", message.published_at)
    stored = repository.load_state(world.store, model)
    if stored is None or payload.key in stored.state.recent_events:
        return False
    state = stored.state
    change = fail(state.rollout, state.desired, alert, world.clock.now())
    if change is None:
        return False
    save_change(world, stored, change, payload)
    return True
