"""All that the policy says about one release: caps, lists, and what it may use. Pure.

Called when a release arrives and by every pass of its rollout, because the policy may change in
between.
"""

from __future__ import annotations

from rollout.policy.access import access_violations
from rollout.policy.caps import cap_violations
from rollout.policy.policy import Policy
from rollout.policy.signers import unsigned
from rollout.policy.violation import Violation
from rollout.spec.model import Spec


def policy_violations(
    policy: Policy, model: str, version: str, spec: Spec, stable: Spec | None = None
) -> tuple[Violation, ...]:
    """Why the policy does not allow the release; empty if it does."""
    return (
        *cap_violations(policy, spec, stable),
        *access_violations(policy, model, spec),
        *map(Violation, unsigned(policy, model, version, spec.artifact)),
    )
