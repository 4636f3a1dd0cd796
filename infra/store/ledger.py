"""The ledger: the most that each model may use of the project's caps, in one document, so that a
release is added up without reading the other models. Pure.

Called by `handlers/admission.py`. Invariant: a model never uses more than its entry. The entry is
written in the commit that accepts a release of the model. What ends later lowers it only with the
next release, or when all models are counted anew.

What makes an entry too small shows in the `basis`: releases that were accepted while the policy had
no caps, other prices, another way to count. An older Slipway writes the document without a ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rollout.policy.prices import Prices
from rollout.policy.usage import Usage

COUNTING = 1
"""To be raised with every change of what `max_usage` says of a release."""
VALID = timedelta(hours=1)
"""So long what nothing else shows, such as a document that a person edited, may go unnoticed."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    basis: str
    counted_at: datetime
    usage: Mapping[str, Usage]

    def others(self, model: str) -> Usage:
        return total(each for name, each in self.usage.items() if name != model)

    def covers(self, model: str, usage: Usage) -> bool:
        """Whether the model's entry is not too small."""
        entry = self.usage.get(model, Usage())
        return (
            entry.instances >= usage.instances
            and entry.accelerators >= usage.accelerators
            and entry.cost >= usage.cost
        )

    def with_entry(self, model: str, usage: Usage) -> Ledger:
        return replace(self, usage={**self.usage, model: usage})


def total(usages: Iterable[Usage]) -> Usage:
    found = tuple(usages)
    return Usage(
        sum(each.instances for each in found),
        sum(each.accelerators for each in found),
        sum(each.cost for each in found),
    )


def basis_of(policy_version: str, prices: Prices) -> str:
    """What the entries were counted by."""
    text = json.dumps([COUNTING, policy_version, asdict(prices)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def to_fields(ledger: Ledger) -> Json:
    """The entries are one text: a field for each would make index entries. Infinity is the cost of
    what has no price.
    """
    entries = {
        model: (each.instances, each.accelerators, each.cost)
        for model, each in ledger.usage.items()
    }
    return {
        "basis": ledger.basis,
        "counted_at": ledger.counted_at,
        "usage": json.dumps(entries, separators=(",", ":")),
    }


def read_ledger(document: Json, basis: str, now: datetime) -> Ledger | None:
    """None if there is none that counts by this basis, or it is too old, or not readable."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        counted_at, entries = document["counted_at"], json.loads(document["usage"])
        is_valid = document["basis"] == basis and abs(now - counted_at) <= VALID
        if is_valid and all(amount >= 0 for each in entries.values() for amount in each):
            return Ledger(basis, counted_at, {name: Usage(*entries[name]) for name in entries})
    return None
