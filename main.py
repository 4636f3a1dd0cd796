"""The entry points of Slipway's functions, one line each: an event goes to its handler with the
World.

An exception leaves the function: the platform answers with an error and Pub/Sub delivers the event
again. What can never succeed is recorded by the handlers, which then return. An instance imports
and connects what its own entry point needs before its first event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import functions_framework
from cloudevents.http import CloudEvent
from flask import Request, current_app, request

from infra import cold_start, logs, wiring
from infra.bus import body as bodies

WEBHOOK_BYTES = 256 * 1024 + 1
"""One more than `handlers/webhook.py` takes, so that it refuses what is larger."""
PUSHED = "google.cloud.pubsub.topic.v1.messagePublished"

logs.set_up()
if current_app:
    keep = WEBHOOK_BYTES if wiring.function_target() == "on_webhook" else None
    current_app.wsgi_app = bodies.BoundedBody(current_app.wsgi_app, keep)  # type: ignore[assignment, method-assign]


def dispatch(handle: Callable[[wiring.World, Any], None], event: CloudEvent) -> None:
    """To the handler, or to the self-check of a revision that is about to take over."""
    received = bodies.received(event, request.environ)
    if self_check.is_check(received):
        self_check.answer(received, wiring.instance(), wiring.world, wiring.identity)
    else:
        handle(wiring.world(), received)


@functions_framework.cloud_event
def on_release(event: CloudEvent) -> None:
    from handlers import release

    dispatch(release.handle, event)


@functions_framework.cloud_event
def on_wakeup(event: CloudEvent) -> None:
    from handlers import wakeup

    dispatch(wakeup.handle, event)


@functions_framework.cloud_event
def on_approval(event: CloudEvent) -> None:
    from handlers import approval

    dispatch(approval.handle, event)


@functions_framework.cloud_event
def on_alert(event: CloudEvent) -> None:
    from handlers import alert

    dispatch(alert.handle, event)


@functions_framework.cloud_event
def on_artifact(event: CloudEvent) -> None:
    from handlers import artifact

    dispatch(artifact.handle, event)


@functions_framework.cloud_event
def on_status(event: CloudEvent) -> None:
    from handlers import status

    dispatch(status.handle, event)


@functions_framework.http
def on_webhook(call: Request) -> tuple[str, int]:
    from handlers import webhook

    if (call.method, call.path) == ("GET", self_check.PATH):
        return probe.answer()
    if call.method != "POST":
        return "only POST", 405
    body = call.stream.read(webhook.MAX_BYTES + 1)
    secrets = webhook.read_webhook_secrets(wiring.webhook_secrets())
    headers = {name.lower(): text for name, text in call.headers.items()}
    return webhook.handle(wiring.world(), secrets, call.path, headers, body)


@functions_framework.errorhandler(400)
def on_refused(refusal: Exception) -> str | tuple[str, int]:
    """Handles a push request that functions-framework does not accept as an event, for example a
    message with attributes alone. Answered with 400, it would be redelivered for hours, so the
    handler gets it like any other message and records it.
    """
    if wiring.function_target() == "on_webhook":
        return "not understood", 400
    entry_points = {
        "on_wakeup": on_wakeup,
        "on_approval": on_approval,
        "on_alert": on_alert,
        "on_artifact": on_artifact,
        "on_status": on_status,
    }
    handle = entry_points.get(wiring.function_target(), on_release)
    body = request.get_json(silent=True) or request.get_data()
    handle(CloudEvent({"type": PUSHED, "source": "//pubsub.googleapis.com/"}, body))
    return "OK"


with cold_start.fast_imports():
    from handlers import self_check

    match wiring.function_target():
        case "on_release":
            import handlers.release

            wiring.world().connect("store", "bus")
        case "on_approval":
            import handlers.approval

            wiring.world().connect("store", "bus")
        case "on_alert":
            import handlers.alert

            wiring.world().connect("store", "bus")
        case "on_artifact":
            import handlers.artifact

            wiring.world().connect("store", "bus")
        case "on_status":
            import handlers.status

            wiring.world().connect("store", "notifier")
        case "on_webhook":
            import handlers.webhook

            wiring.world().connect("bus")
            # Fails at once if they are wrong.
            handlers.webhook.read_webhook_secrets(wiring.webhook_secrets())
        case "on_wakeup":
            import handlers.wakeup

            wiring.world().connect("store", "compute", "scheduler")

probe = self_check.StartupProbe(wiring.instance(), wiring.world, wiring.identity)
if instance := wiring.instance():
    from handlers import self_test

    self_test.run_in_background(instance, wiring.world, wiring.identity)
