"""Which fields a rolling swap cannot change, because both releases share one group for a while.

Called when a release or a rollback is accepted, and by `advance` before a newer release takes over.
Pure."""

from __future__ import annotations

import json

from rollout.spec.model import Spec
from rollout.spec.problems import SpecProblem, redact

_FIXED = {
    "placement.region": "a group cannot move to another region",
    "placement.zones": "a group's zones are fixed when it is made",
    "machine.network": "a group's templates must all use one network",
    "machine.subnetwork": "a group's templates must all use one subnetwork",
    "serving.port": "the group's named port is one for old and new instances",
    "serving.readiness_path": "the readiness check is one for old and new instances",
    "serving.liveness_path": "the liveness check is one for old and new instances",
    "traffic.exposure": (
        "health is judged by the load balancer or by the group, one for old and new instances"
    ),
}


def incompatible(stable: Spec, candidate: Spec) -> tuple[SpecProblem, ...]:
    """What a rolling swap from `stable` to `candidate` cannot change, because both share one group
    for a while."""
    return tuple(
        SpecProblem(
            path,
            f"must stay {_displayed(path, before)} ({why}); retire the model first, or release it under"
            " another name",
            _displayed(path, after),
        )
        for path, why in _FIXED.items()
        for before, after in [(_value_at(stable, path), _value_at(candidate, path))]
        if before != after
    )


def _value_at(spec: Spec, path: str) -> object:
    section, field = path.split(".")
    value: object = getattr(getattr(spec, section), field)
    return sorted(value) if isinstance(value, tuple) else value


def _displayed(path: str, value: object) -> str:
    if isinstance(value, list):
        return json.dumps(value) if value else "unnamed"
    return "unset" if value is None else redact(path, value)
