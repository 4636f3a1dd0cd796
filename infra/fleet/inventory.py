"""Which collections have resources of models, and which resource belongs to which model. Pure.

`infra/compute/inventory.py` does the listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.fleet import naming
from infra.fleet.model import Body, Collection, Key

REGIONAL: tuple[Collection, ...] = ("regionInstanceGroupManagers", "regionAutoscalers")
GLOBAL: tuple[Collection, ...] = ("instanceTemplates", "healthChecks", "backendServices")
OF_MODELS: tuple[Collection, ...] = (*REGIONAL, *GLOBAL)


def is_url_map(key: Key) -> bool:
    """Whether a key is the URL map of a gateway, in which any model may have a route."""
    return key.collection == "urlMaps" and naming.gateway_of(key) is not None


def owned_by_model(found: Mapping[Key, Body], models: Iterable[str]) -> dict[str, dict[Key, Body]]:
    """The resources of each model. A resource belongs to a model if both its name and its
    description say so.
    """
    by_model: dict[str, dict[Key, Body]] = {model: {} for model in models}
    for key, body in found.items():
        model = naming.owner(body)
        if model in by_model and naming.is_of(model, key):
            by_model[model][key] = body
    return by_model
