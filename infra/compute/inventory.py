"""Lists everything in the project that a model's plan may refer to. The cost grows with pages, not
with models.

Called by `handlers/reconcile/compare.py` for a page of settled models at once, and by
`handlers/reconcile/observe.py` for a model without a release: no release says which region to read,
so leftovers are found by their owner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from infra.compute.client import EVERYWHERE, Compute
from infra.fleet import naming
from infra.fleet.inventory import OF_MODELS, REGIONAL, is_url_map, owned_by_model
from infra.fleet.model import Body, Collection, Key, Snapshot
from rollout.deferred import dataclass

TEMPLATE_MEMBERS = "description,id,name"
"""A template never changes, so what is in it, by far the most of a list, is not compared."""


@dataclass(frozen=True)
class Listed:
    """What the lists have, and the regions that they could not read: nothing is absent there."""

    bodies: dict[Key, Body] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()


def list_of_models(
    compute: Compute, concerns: Callable[[Key, Body], bool], filter: str = ""
) -> Listed:
    """The resources of models that the filter finds, and that `concerns` accepts while the lists
    are read page by page, whoever owns them.
    """
    found: dict[Key, Body] = {}
    unreachable: set[str] = set()
    for collection in OF_MODELS:
        is_regional = collection in REGIONAL
        scope = EVERYWHERE if is_regional else naming.GLOBAL
        members = TEMPLATE_MEMBERS if collection == "instanceTemplates" else ""
        for body in compute.iterate(collection, scope, filter, members, unreachable):
            key = _key(collection, body)
            if concerns(key, body):
                found[key] = body
    return Listed(found, frozenset(unreachable))


def list_owned(compute: Compute, model: str) -> Snapshot:
    """Everything the model owns, and the URL maps, in which it may have a route. Raises for a list
    that lacks something.
    """
    found: dict[Key, Body] = {}
    for collection in (*OF_MODELS, naming.GATEWAY.collection):
        scope = EVERYWHERE if collection in REGIONAL else naming.GLOBAL
        found |= {_key(collection, body): body for body in compute.iterate(collection, scope)}
    url_maps = {key: body for key, body in found.items() if is_url_map(key)}
    return Snapshot({naming.GATEWAY: None} | owned_by_model(found, [model])[model] | url_maps)


def _key(collection: Collection, body: Body) -> Key:
    return Key(collection, naming.last(body.get("region")) or naming.GLOBAL, body["name"])
