"""Every resource in the project that a model's plan may speak of, by list calls whose cost grows
with pages and not with models.

Called by `handlers/reconcile/drift_scan.py` for all settled models at once, and by
`handlers/reconcile/loop.py` for a model that nothing is asked of: where no release says in which
region to look, what may be left is found by whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.compute.client import EVERYWHERE, Compute
from infra.fleet import naming
from infra.fleet.model import Body, Collection, Key, Snapshot

REGIONAL: tuple[Collection, ...] = ("regionInstanceGroupManagers", "regionAutoscalers")
GLOBAL: tuple[Collection, ...] = ("instanceTemplates", "healthChecks", "backendServices", "urlMaps")


def list_inventory(compute: Compute) -> dict[Key, Body]:
    found: dict[Key, Body] = {}
    for collection in REGIONAL:
        for body in compute.list(collection, EVERYWHERE):
            found[Key(collection, naming.last(body["region"]) or "", body["name"])] = body
    for collection in GLOBAL:
        found |= {
            Key(collection, naming.GLOBAL, body["name"]): body for body in compute.list(collection)
        }
    return found


def owned_by_model(found: Mapping[Key, Body], models: Iterable[str]) -> dict[str, dict[Key, Body]]:
    """What is each model's: by its name and its description, both."""
    by_model: dict[str, dict[Key, Body]] = {model: {} for model in models}
    for key, body in found.items():
        model = naming.owner(body)
        if model in by_model and naming.is_of(model, key):
            by_model[model][key] = body
    return by_model


def list_owned(compute: Compute, model: str) -> Snapshot:
    """All that is the model's, and the URL map, in which it may have a route."""
    found = list_inventory(compute)
    return Snapshot(
        {**owned_by_model(found, [model])[model], naming.GATEWAY: found.get(naming.GATEWAY)}
    )
