"""What becomes of a model's resources, in Terraform's signs. Pure.

Called by `infra/fleet/forecast.py`. The actions are those of `plan`, from what exists now to what a
release leads to in the end; the order in which a rollout gets there is in its steps.
"""

from __future__ import annotations

from typing import Literal

from infra.fleet import naming
from infra.fleet.model import Action, Collection, Plan
from rollout.deferred import dataclass
from rollout.model import Observed, Target

Sign = Literal["+", "~", "-/+", "-"]

_SIGNS: dict[str, Sign] = {"insert": "+", "delete": "-"}
_NAMES: dict[Collection, str] = {
    "instanceTemplates": "template",
    "healthChecks": "health check",
    "regionInstanceGroupManagers": "group",
    "regionInstanceGroups": "named port of",
    "regionAutoscalers": "autoscaler",
    "backendServices": "backend service",
    "urlMaps": "URL map",
    "targetHttpProxies": "HTTP proxy",
    "targetHttpsProxies": "HTTPS proxy",
    "globalForwardingRules": "forwarding rule",
    "globalAddresses": "address",
}


@dataclass(frozen=True)
class ResourceChange:
    """`+` create, `~` update in place, `-/+` replace, `-` delete."""

    sign: Sign
    resource: str
    why: str


def resource_changes(plan: Plan, target: Target, observed: Observed) -> tuple[ResourceChange, ...]:
    """The changes of a plan, and the instances that are replaced because their template changes."""
    changes = (_change(action) for action in plan.actions)
    return (*changes, *_replaced_instances(target, observed))


def kinds_of(plan: Plan) -> tuple[str, ...]:
    """Which kinds of actions a plan has. Sizes, which an autoscaler moves, are no part of it."""
    return tuple(sorted({f"{each.verb} {each.key.collection}" for each in plan.actions}))


def _change(action: Action) -> ResourceChange:
    name = f"{_NAMES[action.key.collection]} {action.key.name}"
    return ResourceChange(_SIGNS.get(action.verb, "~"), name, action.why)


def _replaced_instances(target: Target, observed: Observed) -> tuple[ResourceChange, ...]:
    found = []
    for group in target.groups:
        view = observed.group(group.colour)
        templates = {share.release.template for share in group.shares}
        others = [each for each in view.instances if each.template not in templates] if view else []
        if others:
            name = naming.group_name(target.model, group.colour)
            versions = " and ".join(share.release.version for share in group.shares)
            what = f"{len(others)} instances of group {name}"
            found.append(
                ResourceChange("-/+", what, f"their template becomes release {versions}'s")
            )
    return tuple(found)
