"""Signs messages and verifies them, as Standard Webhooks specifies it for symmetric keys
(https://www.standardwebhooks.com, `v1`): HMAC-SHA256 over `id.timestamp.body`. Pure.

Used by `infra/verdicts/https.py` for the query and for its answer, and by
`infra/notifications/https.py`. Invariant: no error shows a
secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from rollout.deferred import dataclass

TOLERANCE = timedelta(minutes=5)
_PREFIX = "whsec_"
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, repr=False)
class Secrets:
    """The keys that are valid now; more than one while they are exchanged."""

    keys: tuple[bytes, ...]

    def sign(self, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
        """The three headers of a signed message."""
        timestamp = str(int(at.timestamp()))
        signatures = (_signature(key, message_id, timestamp, body) for key in self.keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(signatures),
        }

    def problem_of(
        self, headers: Mapping[str, str], message_id: str, body: bytes, now: datetime
    ) -> str:
        """Why the headers do not show that somebody with a key sent the body as this message, just
        now; empty if they do.
        """
        if headers.get("webhook-id") != message_id:
            return "webhook-id is not that of the query"
        timestamp = headers.get("webhook-timestamp") or ""
        if not _TIMESTAMP.fullmatch(timestamp):
            return "webhook-timestamp is missing, or no Unix time in seconds"
        if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
            return f"webhook-timestamp differs from now by more than {TOLERANCE.seconds} s"
        given = (headers.get("webhook-signature") or "").encode().split()
        if not given:
            return "webhook-signature is missing"
        valid = [_signature(key, message_id, timestamp, body).encode() for key in self.keys]
        if not any(hmac.compare_digest(one, other) for one in given for other in valid):
            return "webhook-signature is not by the gates' secret"
        return ""


def read_secrets(text: str, setting: str = "SLIPWAY_GATE_SECRET") -> Secrets:
    """The secrets in a setting, separated by spaces. Raises ValueError for what is none."""
    keys = tuple(_key(setting, number, secret) for number, secret in enumerate(text.split(), 1))
    if not keys:
        raise ValueError(f"{setting} must hold a secret, and is empty")
    return Secrets(keys)


def _key(setting: str, number: int, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(
            f"{setting}: secret {number} must be {_PREFIX} and 24 to 64 bytes in base64"
        )
    return key


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"
