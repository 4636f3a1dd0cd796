"""Handles a webhook of MLflow or Hugging Face: verifies who sent it, and publishes its body.

Called by `main.on_webhook`, the one entry point that anybody on the internet may call. It reads no
document, and its identity may publish on `model-artifacts` and do nothing else; `on_artifact`
decides what the body means. Invariants: nothing is published that was not verified, over the bytes
as they arrived; no answer says more than that, and no log shows a secret. A webhook that is
replayed within the tolerance is about the same artifact, so its release changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from infra.wiring import World
from rollout.deferred import dataclass
from rollout.sources.model import SOURCE_ATTRIBUTE

ARTIFACTS = "model-artifacts"
TOLERANCE = timedelta(minutes=5)
MAX_BYTES = 256 * 1024
"""As much as the artifact intake reads; a webhook has a few kilobytes."""
MIN_SECRET = 16
MAX_SECRETS = 3

_TIMESTAMP = re.compile(r"[0-9]{1,12}")

log = logging.getLogger("slipway")

Answer = tuple[str, int]


@dataclass(frozen=True, repr=False)
class WebhookSecrets:
    """The secrets of each sender that are valid now; more than one while they are exchanged."""

    mlflow: tuple[bytes, ...] = ()
    hugging_face: tuple[bytes, ...] = ()


def read_webhook_secrets(text: str) -> WebhookSecrets:
    """From `{"mlflow": "…", "hugging_face": ["new …", "old …"]}`. Raises ValueError, which shows no
    value.
    """
    try:
        given = json.loads(text or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict) or not set(given) <= {"mlflow", "hugging_face"}:
        raise ValueError("SLIPWAY_WEBHOOK_SECRETS must be a JSON object of mlflow and hugging_face")
    return WebhookSecrets(**{name: _secrets(name, value) for name, value in given.items()})


def handle(
    world: World, secrets: WebhookSecrets, path: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """What is answered to a POST. The names of `headers` are in lower case."""
    source = path.strip("/")
    if source not in VERIFIERS:
        return "there is no such webhook", 404
    if len(body) > MAX_BYTES:
        return f"at most {MAX_BYTES} bytes", 413
    problem = VERIFIERS[source](secrets, headers, body, world.clock.now())
    if problem:
        log.warning("webhook refused", extra={"fields": {"source": source, "why": problem}})
        return "not verified", 401
    if not body:
        return "there is no body", 400
    message = world.bus.publish(ARTIFACTS, body, {SOURCE_ATTRIBUTE: source})
    log.info("webhook accepted", extra={"fields": {"source": source, "event_id": message}})
    return "", 204


def mlflow_problem(
    secrets: WebhookSecrets, headers: Mapping[str, str], body: bytes, now: datetime
) -> str:
    """Why a webhook was not sent by MLflow just now; empty if it was.

    Source: mlflow-skinny 3.17, `mlflow/webhooks/delivery.py`: `v1,` and the base64 of
    HMAC-SHA256 over `id.timestamp.body`, with the secret's text as the key.
    """
    delivery = headers.get("x-mlflow-delivery-id") or ""
    timestamp = headers.get("x-mlflow-timestamp") or ""
    given = (headers.get("x-mlflow-signature") or "").encode()
    if not secrets.mlflow:
        return "there is no secret of mlflow"
    signed = f"{delivery}.{timestamp}.".encode() + body
    valid = [_signature(secret, signed) for secret in secrets.mlflow]
    if not any(hmac.compare_digest(given, each) for each in valid):
        return "X-MLflow-Signature is not by the secret"
    if not _TIMESTAMP.fullmatch(timestamp):
        return "X-MLflow-Timestamp is no Unix time in seconds"
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        return f"X-MLflow-Timestamp differs from now by more than {TOLERANCE.seconds} s"
    return ""


def hugging_face_problem(
    secrets: WebhookSecrets, headers: Mapping[str, str], body: bytes, now: datetime
) -> str:
    """Why a webhook was not sent by Hugging Face; empty if it was.

    Source: Hugging Face, "Webhooks", "Webhook secret". The secret itself is the only proof: there
    is neither a signature nor a time. As a parameter of the URL it would be in logs, so it counts
    in the header alone.
    """
    if not secrets.hugging_face:
        return "there is no secret of hugging_face"
    given = (headers.get("x-webhook-secret") or "").encode()
    if not any(hmac.compare_digest(given, each) for each in secrets.hugging_face):
        return "X-Webhook-Secret is not the secret"
    return ""


VERIFIERS: Mapping[str, Callable[[WebhookSecrets, Mapping[str, str], bytes, datetime], str]] = {
    "hugging_face": hugging_face_problem,
    "mlflow": mlflow_problem,
}


def _secrets(name: str, given: object) -> tuple[bytes, ...]:
    listed = given if isinstance(given, list) else [given]
    is_valid = 0 < len(listed) <= MAX_SECRETS and all(
        isinstance(each, str) and each.isascii() and len(each) >= MIN_SECRET for each in listed
    )
    if not is_valid:
        raise ValueError(
            f"SLIPWAY_WEBHOOK_SECRETS: {name} must be a secret of at least {MIN_SECRET} ASCII"
            f" characters, or a list of 1 to {MAX_SECRETS}"
        )
    return tuple(str(each).encode() for each in listed)


def _signature(secret: bytes, signed: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256))
