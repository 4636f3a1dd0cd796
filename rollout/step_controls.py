"""Whether an approval or a promotion applies to the step that a rollout is in. Pure.

Called by `rollout/accept.py`. Both are about the step during which they were published: one that
arrives late ends no later step, and nobody approves a step that has not been reached.
"""

from __future__ import annotations

from datetime import timedelta

from rollout.intents import ALREADY_PROMOTED, may_not
from rollout.model import Baking, Intent, Rollout, Stepping, phase_name
from rollout.spec.steps import ApproveStep
from rollout.strategies import strategy_of, swap_of


def awaited_step(rollout: Rollout) -> ApproveStep | None:
    """The present step, if it asks for approval. What a rollback restores needs none."""
    phase, candidate = rollout.phase, rollout.candidate
    if not isinstance(phase, Stepping) or candidate is None or candidate.is_restored:
        return None
    steps = strategy_of(candidate).steps(swap_of(rollout, candidate))
    step = steps[min(phase.step, len(steps) - 1)]
    return step if isinstance(step, ApproveStep) else None


def is_timed_out(rollout: Rollout, step: ApproveStep | None) -> bool:
    """Whether the rollout is paused because nobody approved the step in time."""
    phase, paused = rollout.phase, rollout.paused
    if step is None or paused is None or not isinstance(phase, Stepping) or phase.approved_by:
        return False
    until = phase.since + timedelta(seconds=step.approve.timeout_seconds)
    return not paused.after_failure and paused.since >= until


def step_refusal(rollout: Rollout, step: ApproveStep | None, intent: Intent) -> str:
    """Why the present step is neither promoted nor approved; empty if it is."""
    phase = rollout.phase
    if not isinstance(phase, Stepping | Baking):
        return f"phase {phase_name(phase)} has no step"
    name = phase_name(phase)
    approved_by = phase.approved_by if isinstance(phase, Stepping) else ""
    if intent.verb == "approve":
        if step is None:
            return f"{name} asks for no approval"
        if intent.approver != step.approve.by:
            return may_not(intent, name, [step.approve.by])
        if approved_by:
            return f"{name} is approved already, by {approved_by}"
    elif step and not approved_by:
        return f"{name} asks for approval by {step.approve.by}, which promote does not replace"
    elif phase.is_promoted or rollout.promoted:
        return ALREADY_PROMOTED
    if phase.since > intent.published_at:
        return f"{name} began after it was published"
    return ""
