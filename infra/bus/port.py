"""The port for publishing messages: what handlers may expect of a bus.

Handlers use `Bus` alone. `infra/bus/pubsub.py` implements it on Google Cloud Pub/Sub and
`infra/bus/embedded.py` within one process; neither is imported here. What arrives from the bus is
parsed by `infra/bus/envelope.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from infra.errors import Unavailable

__all__ = ["Bus", "BusError", "Unavailable", "check_outgoing"]

MAX_OUTGOING_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_NAME_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024


class Bus(Protocol):
    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] = {}) -> str:
        """Publish to the topic with this short name, wait for the acknowledgement, and return the
        message's id.

        Raises `Unavailable` if it is not known whether the message was accepted: publish again, a
        duplicate is harmless. Raises `BusError` if the message was refused permanently. Messages
        are not ordered.
        """
        ...


class BusError(Exception):
    """The bus refused a message permanently, for example because the topic or a permission is
    missing. Someone has to fix that.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def check_outgoing(data: bytes, attributes: Mapping[str, str]) -> None:
    """Raise `BusError` if Pub/Sub would not accept the message. Every bus calls this, because the
    Pub/Sub emulator accepts more than the service does.

    Source: Pub/Sub, "Quotas and limits".
    """
    if not data and not attributes:
        raise BusError("a message needs data or an attribute")
    if len(data) > MAX_OUTGOING_BYTES:
        raise BusError(f"the data has {len(data):,} bytes, the limit is {MAX_OUTGOING_BYTES:,}")
    if len(attributes) > MAX_ATTRIBUTES:
        raise BusError(f"there are {len(attributes)} attributes, the limit is {MAX_ATTRIBUTES}")
    for name, text in attributes.items():
        if not 0 < len(name.encode()) <= MAX_ATTRIBUTE_NAME_BYTES or name.startswith("goog"):
            raise BusError(
                f"the attribute name {name[:80]!r} must have 1 to {MAX_ATTRIBUTE_NAME_BYTES} bytes"
                " and must not begin with goog"
            )
        if len(text.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise BusError(
                f"the attribute {name} has {len(text.encode()):,} bytes, the limit is"
                f" {MAX_ATTRIBUTE_VALUE_BYTES:,}"
            )
