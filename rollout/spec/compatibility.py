"""Which fields a rolling swap cannot change, because both releases share one group for a while.

Called when a release or a rollback is accepted, and by `advance` before a newer release takes over.
Pure.
"""

from __future__ import annotations

import json

from rollout.spec.model import Spec
from rollout.spec.problems import SpecProblem, redact

_FIXED = {
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


def incompatible(stable: Spec, candidate: Spec) -> tuple[SpecProblem, ...]:
    """The changes from `stable` to `candidate` that a rolling swap cannot make."""
    return tuple(
        SpecProblem(
            path,
            f"must stay {_display(path, before)} ({why}); retire the model first, or release it"
            " under another name",
            _display(path, after),
        )
        for path, why in _FIXED.items()
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
