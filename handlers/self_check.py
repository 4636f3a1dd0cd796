"""Answers whether this revision of a function can take over: asked by `deploy/functions.sh`, before
the revision gets any other message, and by Cloud Run where no message can be pushed.

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
PATH = "/self-check"
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
        from infra.store.readable import find_unreadable

        yield from find_unreadable(world.store, world.project)
    except Exception as error:
        yield f"documents cannot be read: {error!r}"


class StartupProbe:
    """Answers Cloud Run's startup probe in a service to which Pub/Sub does not push. Anybody may
    ask, so it says nothing but a word, and tests nothing again once it was right.

    What cannot be tested now is no reason not to start: an outage passes, a lacking right does not.
    """

    def __init__(
        self,
        instance: Instance | None,
        world: Callable[[], World],
        identity: Callable[[], GoogleIdentity],
    ) -> None:
        self._instance, self._world, self._identity = instance, world, identity
        self._is_right = instance is None

    def answer(self) -> tuple[str, int]:
        """The text and the status."""
        if self._is_right or self._instance is None:
            return RIGHT, 200
        try:
            record = self_test.test_itself(self._instance, self._world(), self._identity)
            lacks = record.lacks if record else ()
        except Exception as error:
            log.warning("permissions not tested", extra={"fields": {"why": repr(error)}})
            lacks = ()
        self._is_right = not lacks
        return (RIGHT, 200) if self._is_right else ("not right: see the log", 503)
