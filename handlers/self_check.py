"""Answers whether this revision of a function can take over: asked by `deploy/functions.sh`, before
the revision gets any other message.

The question is a message on `slipway-checks`, which a subscription of its own pushes to the address
of the revision's tag. The answer is a log line, since not every function may write documents, and
`checks/{service}` of those that may. Answered right: the code is imported and connected, the
identity has its permissions, and settings and models are readable by this version. Invariant: a
check changes nothing else, and it never raises, so that no question is asked twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from handlers import self_test
from infra.bus.envelope import parse_message
from infra.version import version
from infra.wiring import World

if TYPE_CHECKING:
    from infra.identity.google import GoogleIdentity
    from infra.identity.needs import Instance

TOPIC = "slipway-checks"
ANSWERED = "self-check answered"
RIGHT = "right"
MODELS = 100
NAMED = 3

log = logging.getLogger("slipway")


def is_check(event: Any) -> bool:
    return str(event.get("source")).endswith(f"/topics/{TOPIC}")


def answer(
    event: Any,
    instance: Instance | None,
    world: Callable[[], World],
    identity: Callable[[], GoogleIdentity],
) -> None:
    """`instance`: None outside of Cloud Run, where nobody asks."""
    try:
        check = parse_message(event).attributes.get("check", "")
        problems = [*find(instance, world(), identity)] if instance else ["not on Cloud Run"]
        text = "; ".join(problems) or RIGHT
        fields = {
            "check": check,
            "answer": text,
            "service": instance.service if instance else "",
            "revision": instance.revision if instance else "",
            "version": version(),
        }
        log.info(ANSWERED, extra={"fields": fields})
        if instance and instance.entry_point not in self_test.WRITE_NOTHING:
            from infra.store.port import Put

            at = world().clock.now()
            world().store.commit(Put(f"checks/{instance.service}", fields | {"at": at}))
    except Exception as error:
        log.exception("self-check failed", extra={"fields": {"why": repr(error)}})


def find(instance: Instance, world: World, identity: Callable[[], GoogleIdentity]) -> Iterator[str]:
    """Why this revision cannot take over."""
    try:
        record = self_test.examine(instance, world, identity())
        for lack in record.lacks[:NAMED]:
            yield f"lacks {', '.join(lack.permissions)} on {lack.resource}"
    except Exception as error:
        yield f"permissions cannot be tested: {error!r}"
    try:
        yield from _documents(world)
    except Exception as error:
        yield f"documents cannot be read: {error!r}"


def _documents(world: World) -> Iterator[str]:
    """Settings and models that this version does not understand."""
    from infra.settings import POLICY, load_project_policy
    from infra.store.documents import from_document

    try:
        load_project_policy(world.store, world.store.get_many([POLICY]), world.project)
    except ValueError as error:
        yield str(error)
    unreadable = []
    models = world.store.list("models", MODELS)
    for document in models:
        try:
            from_document(document.data)
        except Exception as error:
            unreadable.append(f"{document.path}: {error}")
    if unreadable:
        yield f"{len(unreadable)} of {len(models)} models are unreadable: " + "; ".join(
            unreadable[:NAMED]
        )
