"""Which fields cannot change from one release to the next, by the strategy of the next one.

With `rolling` both releases share one group for a while. With `canary` and `blue_green` each has
its own, and they share only the route and the region.

Called when a release or a rollback is accepted, and by `advance` before a newer release takes over.
Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from rollout.spec.model import Spec
from rollout.spec.problems import SpecProblem, redact

_FIXED_IN_A_GROUP = {
    "placement.region": "a group cannot move to another region",
    "placement.zones": "a group's zones are fixed when it is created",
    "machine.network": "all templates of a group must use the same network",
    "machine.subnetwork": "all templates of a group must use the same subnetwork",
    "serving.port": "old and new instances share the group's named port",
    "serving.readiness_path": "old and new instances share the readiness check",
    "serving.liveness_path": "old and new instances share the liveness check",
    "traffic.exposure": (
        "old and new instances share one source of health, the load balancer or the group"
    ),
}
_FIXED_IN_A_ROUTE = {
    "placement.region": "both groups are in one region",
    "traffic.exposure": "both groups share one route",
    "traffic.host": "both groups share one route",
    "traffic.path": "both groups share one route",
}


def incompatible(stable: Spec, candidate: Spec) -> tuple[SpecProblem, ...]:
    """The changes from `stable` to `candidate` that the candidate's strategy cannot make."""
    if candidate.rollout.has_second_group:
        return _changes(stable, candidate, _FIXED_IN_A_ROUTE)
    return cannot_share_group(stable, candidate)


def restorable(stable: Spec, earlier: Spec) -> Spec:
    """The spec with which a rollback brings an earlier release back: with its own strategy, unless
    only that of the stable release, which has led from it, can make the change.
    """
    if not incompatible(stable, earlier):
        return earlier
    like_stable = earlier.model_copy(update={"rollout": stable.rollout})
    return earlier if incompatible(stable, like_stable) else like_stable


def cannot_share_group(stable: Spec, candidate: Spec) -> tuple[SpecProblem, ...]:
    """The changes that two releases in one group cannot make."""
    return _changes(stable, candidate, _FIXED_IN_A_GROUP)


def _changes(stable: Spec, candidate: Spec, fixed: Mapping[str, str]) -> tuple[SpecProblem, ...]:
    return tuple(
        SpecProblem(
            path,
            f"must stay {_display(path, before)} ({why}); retire the model first, or release it"
            " under another name",
            _display(path, after),
        )
        for path, why in fixed.items()
        for before, after in [(_value_at(stable, path), _value_at(candidate, path))]
        if before != after
    )


def _value_at(spec: Spec, path: str) -> object:
    section, field = path.split(".")
    value: object = getattr(getattr(spec, section), field)
    return sorted(value) if isinstance(value, tuple) else value


def _display(path: str, value: object) -> str:
    if value in (None, []):
        return "unset"
    return json.dumps(value) if isinstance(value, list) else redact(path, value)
