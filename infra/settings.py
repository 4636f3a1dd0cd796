"""The price table that comes with Slipway, read when a policy first caps a cost.

Called by `infra/store/repository.py`. Its numbers are rough and dated, as
`rollout/policy/prices.json` says itself; the document `settings/prices` goes before them."""

from __future__ import annotations

import json
import pkgutil
from functools import cache

from rollout.policy.prices import Prices, load_prices


@cache
def default_prices() -> Prices:
    return load_prices(
        Prices(), json.loads(pkgutil.get_data("rollout.policy", "prices.json") or b"{}")
    )
