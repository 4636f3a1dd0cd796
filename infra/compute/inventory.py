"""Lists everything in the project that a model's plan may refer to. The cost grows with pages, not
with models.

Called by `handlers/reconcile/drift_scan.py` for all settled models at once, and by
`handlers/reconcile/observe.py` for a model without a release: no release says which region to read,
so leftovers are found by their owner.
"""

from __future__ import annotations

from infra.compute.client import EVERYWHERE, Compute
from infra.fleet import naming
from infra.fleet.inventory import GLOBAL, REGIONAL, owned_by_model
from infra.fleet.model import Body, Key, Snapshot


def list_inventory(compute: Compute) -> dict[Key, Body]:
    """Every resource of the collections that Slipway uses, whoever owns it."""
    found: dict[Key, Body] = {}
    for collection in REGIONAL:
        for body in compute.list(collection, EVERYWHERE):
            found[Key(collection, naming.last(body["region"]) or "", body["name"])] = body
    for collection in GLOBAL:
        found |= {
            Key(collection, naming.GLOBAL, body["name"]): body for body in compute.list(collection)
        }
    return found


def list_owned(compute: Compute, model: str) -> Snapshot:
    """Everything the model owns, and the URL map, in which it may have a route."""
    found = list_inventory(compute)
    return Snapshot(
        {**owned_by_model(found, [model])[model], naming.GATEWAY: found.get(naming.GATEWAY)}
    )
