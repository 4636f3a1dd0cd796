"""What a function records of itself, and of the last tick, for `slipway doctor`. Pure.

Nothing is decided by these documents. A record is read by other versions than the one that wrote
it, so what is missing in it has a neutral value, and what is unknown is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rollout.deferred import dataclass

LAST_TICK = "ticks/last"
FUNCTIONS = "functions"
TESTED = "permissions tested"
"""The log line that has the same fields, for functions that write no documents."""


@dataclass(frozen=True)
class Lack:
    """What an identity may not do: `permissions` on a resource, for people."""

    resource: str
    permissions: tuple[str, ...]


@dataclass(frozen=True)
class FunctionRecord:
    """`version` is Slipway's, `untested` says what could not be tested, and why."""

    service: str
    revision: str
    version: str
    at: datetime
    region: str = ""
    account: str = ""
    lacks: tuple[Lack, ...] = ()
    untested: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{FUNCTIONS}/{self.service}"


def function_to_document(record: FunctionRecord) -> dict[str, Any]:
    lacks = [
        {"resource": each.resource, "permissions": list(each.permissions)} for each in record.lacks
    ]
    return asdict(record) | {"lacks": lacks, "untested": list(record.untested)}


def function_from_document(document: Mapping[str, Any]) -> FunctionRecord | None:
    """None if it is damaged: then it says nothing. `at` may be text, as in a log line."""
    try:
        return FunctionRecord(
            str(document["service"]),
            str(document.get("revision", "")),
            str(document.get("version", "")),
            _moment(document["at"]),
            str(document.get("region", "")),
            str(document.get("account", "")),
            tuple(
                Lack(str(each["resource"]), tuple(map(str, each["permissions"])))
                for each in document.get("lacks", ())
            ),
            tuple(map(str, document.get("untested", ()))),
        )
    except (LookupError, TypeError, ValueError):
        return None


def _moment(value: Any) -> datetime:
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError(f"must be a moment, got {value!r}")
    return at


@dataclass(frozen=True)
class TickRecord:
    """When a tick began, and which of its parts failed, each with the reason."""

    at: datetime
    failed: tuple[str, ...] = ()


def tick_to_document(record: TickRecord) -> dict[str, Any]:
    return {"at": record.at, "failed": list(record.failed)}


def tick_from_document(document: Mapping[str, Any]) -> TickRecord | None:
    """None if it is damaged."""
    try:
        return TickRecord(_moment(document["at"]), tuple(map(str, document.get("failed", ()))))
    except (LookupError, TypeError, ValueError):
        return None
