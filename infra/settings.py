"""Loads the project's policy and prices from the documents `settings/policy` and `settings/prices`.

Called by the handlers that check a policy. The price table that ships with Slipway
(`rollout/policy/prices.json`) is rough and dated; `settings/prices` overrides it.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from infra.signatures import is_signed
from infra.store.port import Document, Store
from rollout.policy.policy import Policy, load_policy
from rollout.policy.prices import Prices, load_prices
from rollout.policy.stop import Stop, stop_of

POLICY = "settings/policy"
PRICES = "settings/prices"


def load_project_policy(store: Store, documents: Mapping[str, Document], project: str) -> Policy:
    """The policy among documents already read; without one, the safe defaults of `Policy` hold.
    Prices are read only if the policy caps a cost.
    """
    document = documents.get(POLICY)
    return load_policy(
        document.data if document else None,
        lambda: load_project_prices(store),
        is_signed,
        project,
    )


def load_policy_document(data: Mapping[str, Any], project: str = "") -> Policy:
    """A policy that need not be stored, with the prices that ship with Slipway."""
    return load_policy(data, default_prices, is_signed, project)


def load_project_prices(store: Store) -> Prices:
    overrides = store.get(PRICES)
    return load_prices(default_prices(), overrides.data if overrides else None)


def load_stop(documents: Mapping[str, Document]) -> Stop | None:
    """The switch `stop` of the policy among documents already read, also of one that is invalid."""
    document = documents.get(POLICY)
    return stop_of(document.data if document else None)


def read_stop(store: Store) -> Stop | None:
    return load_stop(store.get_many([POLICY]))


@cache
def default_prices() -> Prices:
    """The price table that ships with Slipway."""
    data = pkgutil.get_data("rollout.policy", "prices.json") or b"{}"
    return load_prices(Prices(), json.loads(data))
