"""Tests which permissions the function's own identity has, and records the answer for `slipway
doctor`.

Started by `main.py` in a thread of each instance: shortly after its start, so that a deployment
tests itself, and then every 15 minutes while it runs. No event waits for it, it takes a few
requests, and instances of a revision share a record. Invariant: it never raises, and no decision
depends on what it records. A function that may write no document only logs the answer.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.identity.google import GoogleIdentity
    from infra.identity.needs import Instance, Need
    from infra.identity.record import FunctionRecord, Lack
    from infra.wiring import World

FIRST_SECONDS = 2.0
"""An event that started the instance has been handled by then, as a rule."""
PERIOD = timedelta(minutes=15)
WRITE_NOTHING = ("on_artifact", "on_webhook")
SETTINGS = "settings/policy"

log = logging.getLogger("slipway")


def run_in_background(
    instance: Instance, world: Callable[[], World], identity: Callable[[], GoogleIdentity]
) -> None:
    """Tests again and again in a thread of the process that serves: the functions' server forks it
    after the import, and a thread does not follow.
    """

    def start() -> threading.Event:
        stop = threading.Event()

        def repeat() -> None:
            seconds = FIRST_SECONDS
            while not stop.wait(seconds):
                attempt(instance, world, identity)
                seconds = PERIOD.total_seconds()

        threading.Thread(target=repeat, name="self-test", daemon=True).start()
        return stop

    stop = start()
    os.register_at_fork(after_in_parent=stop.set, after_in_child=start)


def attempt(
    instance: Instance, world: Callable[[], World], identity: Callable[[], GoogleIdentity]
) -> None:
    """One test, whose failure is a log line."""
    try:
        test_itself(instance, world(), identity)
    except Exception as error:
        log.warning("permissions not tested", extra={"fields": {"why": repr(error)}})


def test_itself(
    instance: Instance, world: World, identity: Callable[[], GoogleIdentity]
) -> FunctionRecord | None:
    """Tests, and records the answer, unless another instance of the same revision just has."""
    from infra.identity.record import TESTED, function_to_document

    writes = instance.entry_point not in WRITE_NOTHING
    if writes and _is_fresh(instance, world):
        return None
    record = examine(instance, world, identity())
    if writes:
        from infra.store.port import Put

        world.store.commit(Put(record.path, function_to_document(record)))
    if record.lacks or not writes:
        level = logging.ERROR if record.lacks else logging.INFO
        fields = function_to_document(record) | {"at": record.at.isoformat()}
        log.log(level, TESTED, extra={"fields": fields})
    return record


def _is_fresh(instance: Instance, world: World) -> bool:
    from infra.identity.record import FUNCTIONS, function_from_document
    from infra.version import version

    stored = world.store.get(f"{FUNCTIONS}/{instance.service}")
    record = function_from_document(stored.data) if stored else None
    if record is None:
        return False
    is_same = (record.revision, record.version) == (instance.revision, version())
    return is_same and world.clock.now() - record.at < PERIOD - timedelta(minutes=1)


def examine(instance: Instance, world: World, identity: GoogleIdentity) -> FunctionRecord:
    """What the identity may do now. Nothing is recorded."""
    from infra.errors import Unavailable
    from infra.identity.needs import needs_of
    from infra.identity.record import FunctionRecord, Lack
    from infra.version import version

    lacks, untested = _test_settings(instance, world)
    for need in needs_of(instance):
        try:
            if missing := identity.missing(need):
                lacks.append(Lack(_resource(need), missing))
        except Unavailable as error:
            untested.append(f"{_resource(need)}: {error}")
    return FunctionRecord(
        instance.service,
        instance.revision,
        version(),
        world.clock.now(),
        identity.region(),
        identity.account(),
        tuple(lacks),
        tuple(untested),
    )


def _test_settings(instance: Instance, world: World) -> tuple[list[Lack], list[str]]:
    """Whether settings can be read; documents are, when the record is read and written."""
    from infra.errors import Unavailable
    from infra.identity.record import Lack

    if instance.entry_point == "on_webhook":  # it reads no document
        return [], []
    from infra.store.port import StoreError

    try:
        world.store.get(SETTINGS)
    except StoreError as error:
        return [Lack(f"{SETTINGS} ({error})", ("datastore.entities.get",))], []
    except Unavailable as error:
        return [], [f"{SETTINGS}: {error}"]
    return [], []


def _resource(need: Need) -> str:
    return need.name if need.kind == "queue" else f"{need.kind} {need.name}"
