"""Records how full each gateway is, in `gateways/{URL map}`, for people: `slipway doctor` reads it.

The writer of a URL map writes it when the part that is used has changed by a whole percent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.fleet.resources.map_limits import WARN_SHARE, Amount
from infra.store.port import Document

COLLECTION = "gateways"


@dataclass(frozen=True)
class Fullness:
    """`what` uses most of its limit: `898 of 1,000 match conditions of host *`."""

    url_map: str
    percent: int
    what: str
    at: datetime | None = None

    @property
    def is_nearly_full(self) -> bool:
        return self.percent >= WARN_SHARE * 100


def path(url_map: str) -> str:
    return f"{COLLECTION}/{url_map}"


def fullness_of(url_map: str, amount: Amount) -> Fullness:
    return Fullness(url_map, amount.used * 100 // amount.limit, str(amount))


def to_document(fullness: Fullness, now: datetime) -> dict[str, Any]:
    return {"percent": fullness.percent, "what": fullness.what, "at": now}


def from_document(document: Document) -> Fullness:
    """Whatever somebody has changed in it, it only informs."""
    data = document.data
    percent = data.get("percent")
    return Fullness(
        document.path.rpartition("/")[2],
        percent if isinstance(percent, int) else 0,
        str(data.get("what", "")),
        data.get("at"),
    )
