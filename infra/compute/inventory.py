"""Lists everything in the project that a model's plan may refer to. The cost grows with pages, not
with models.

Called by `handlers/reconcile/drift_scan.py` for all settled models at once, and by
`handlers/reconcile/observe.py` for a model without a release: no release says which region to read,
so leftovers are found by their owner.
"""

from __future__ import annotations

from collections.abc import Callable

from infra.compute.client import EVERYWHERE, Compute
from infra.fleet import naming
from infra.fleet.inventory import GLOBAL, REGIONAL, owned_by_model
from infra.fleet.model import Body, Key, Snapshot


def list_inventory(
    compute: Compute, concerns: Callable[[Key, Body], bool] = lambda key, body: True
) -> dict[Key, Body]:
    """The resources of the collections that Slipway uses, whoever owns them. Only those that
    `concerns` accepts are kept, while the lists are read page by page.
    """
    found: dict[Key, Body] = {}
    for collection in (*REGIONAL, *GLOBAL):
        scope = EVERYWHERE if collection in REGIONAL else naming.GLOBAL
        for body in compute.iterate(collection, scope):
            region = naming.last(body.get("region")) or naming.GLOBAL
            key = Key(collection, region, body["name"])
            if concerns(key, body):
                found[key] = body
    return found


def list_owned(compute: Compute, model: str) -> Snapshot:
    """Everything the model owns, and the URL map, in which it may have a route."""
    found = list_inventory(compute)
    return Snapshot(
        {**owned_by_model(found, [model])[model], naming.GATEWAY: found.get(naming.GATEWAY)}
    )
