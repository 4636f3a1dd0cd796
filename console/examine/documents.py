"""Judges what the documents say: models, settings, passes, outbox and the tick. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from console.examine.finding import NAMED, Finding, right, some, wrong
from console.text import span
from infra.identity.record import TickRecord
from infra.store import outbox
from infra.store.gateways import Fullness
from infra.store.port import Due
from rollout.notifications.settings import Notifications
from rollout.policy.policy import Policy
from rollout.policy.stop import Stop
from rollout.sources.settings import Route
from rollout.state import ModelState

LATE = timedelta(minutes=3)
"""The tick of every minute wakes what is due; a pass takes 45 seconds at most."""
TICK_TODO = "Look at the lines of scheduler, topic model-wakeups and slipway-reconciler"


def of_models(problems: Iterable[str]) -> Finding:
    found = [*problems]
    if found:
        todo = "Use the slipway and the functions of that version"
        return wrong("documents", "; ".join(found[:NAMED]), todo)
    return right("documents", "this version reads all models")


def of_holds(states: Iterable[ModelState]) -> Finding:
    on_hold = [each.desired.model for each in states if each.hold]
    if not on_hold:
        return right("holds", "no model is on hold")
    todo = "Read docs/operations.md, Restoring the store, then slipway resume MODEL"
    return wrong("holds", f"on hold since the store was restored: {some(on_hold)}", todo)


def of_policy(is_stored: bool, load: Callable[[], Policy]) -> Finding:
    if not is_stored:
        what = "settings/policy does not exist: nothing is capped, and no release can be reached"
        return wrong("policy", what, "Write one with slipway policy set")
    try:
        load()
    except ValueError as error:
        return wrong("policy", str(error), "Until it is repaired, every release is refused")
    return right("policy", "settings/policy is valid")


def of_stop(stop: Stop | None) -> Finding:
    """Wrong, since nobody should forget it."""
    if stop is None:
        return right("stop", "Slipway is not stopped")
    return wrong("stop", f"Slipway is {stop.why}", "slipway start ends it")


def of_prices(is_stored: bool, load: Callable[[], object]) -> Finding:
    if not is_stored:
        return right("prices", "settings/prices does not exist: built-in prices count")
    try:
        load()
    except ValueError as error:
        todo = "Until it is repaired, releases are refused if the policy caps their cost"
        return wrong("prices", str(error), todo)
    return right("prices", "settings/prices is valid")


def of_notifications(settings: Notifications) -> Finding:
    if settings.problems:
        what = "; ".join(settings.problems[:NAMED])
        return wrong("notifications", what, "See docs/notifications.md")
    names = some(each.name for each in settings.destinations) or "no destination"
    return right("notifications", f"sent to {names}")


def of_sources(load: Callable[[], tuple[Route, ...]]) -> Finding:
    try:
        routes = load()
    except ValueError as error:
        todo = "Until it is repaired, no artifact is released: docs/sources.md"
        return wrong("sources", str(error), todo)
    names = some(each.name for each in routes) or "no route"
    return right("sources", f"artifacts are released by {names}")


def of_gateways(found: Iterable[Fullness]) -> Finding:
    full = [each for each in found if each.is_nearly_full]
    if not full:
        return right("gateways", "there is room for more models")
    what = "; ".join(f"{each.url_map} is full by {each.percent} % ({each.what})" for each in full)
    todo = "Let new releases name another one with traffic.gateway, or another traffic.host"
    return wrong("gateways", what, f"{todo}: docs/operations.md#gateways")


def of_passes(overdue: Iterable[Due], now: datetime) -> Finding:
    found = [*overdue]
    if not found:
        return right("passes", "no model waits longer than it should")
    longest = span(now - found[0].requeue_at)
    names = some(each.model for each in found)
    todo = "Look at the line of tick, and at the logs of slipway-reconciler"
    return wrong("passes", f"overdue for {longest} and less: {names}", todo)


def of_outbox(unsent: Iterable[datetime], now: datetime) -> Finding:
    late = [at for at in unsent if now - at > outbox.GRACE + LATE]
    if not late:
        return right("outbox", "all messages are published")
    what = f"messages not published: {len(late)}, the oldest since {span(now - min(late))}"
    return wrong("outbox", what, "Look at the logs for what Pub/Sub refuses")


def of_tick(last: TickRecord | None, now: datetime) -> Finding:
    if last is None:
        return wrong("tick", "no tick has been processed yet", TICK_TODO)
    processed = f"the last one was processed {span(now - last.at)} ago"
    if now - last.at > LATE:
        return wrong("tick", f"{processed}, and there should be one each minute", TICK_TODO)
    if last.failed:
        todo = "Read the logs of slipway-reconciler"
        return wrong("tick", f"parts of the last one failed: {'; '.join(last.failed)}", todo)
    return right("tick", processed)
