"""The entry points of Slipway's functions; each hands its event to `handlers/` together with the World.

An exception leaves the function: the platform answers with an error and Pub/Sub delivers the event again. What can never succeed
is put on record by the handlers and returns. An instance imports and connects what its own entry point needs, before its first
event.
"""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from infra import logs, wiring

logs.set_up()


@functions_framework.cloud_event
def on_release(event: CloudEvent) -> None:
    from handlers import release

    release.handle(wiring.world(), event)


@functions_framework.cloud_event
def on_wakeup(event: CloudEvent) -> None:
    from handlers import wakeup

    wakeup.handle(wiring.world(), event)


match wiring.target():
    case "on_release":
        import handlers.release

        wiring.world().connect("store", "bus")
    case "on_wakeup":
        import handlers.wakeup  # noqa: F401

        wiring.world().connect("store", "compute")
