"""What the phases of a rollout judge by, and what follows from a verdict. Pure.

Used by the modules of `rollout/phases`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from rollout import analysis, capacity, transitions
from rollout.gates.base import Failed, GateContext, Inconclusive, Passed, Verdict, Waiting
from rollout.gates.clocks import decode, lost_instances
from rollout.gates.release_health import ReleaseHealth, observe_release, update_progress
from rollout.model import Desired, Evidence, Frozen, Instance, Observed, Progress, Release, Rollout
from rollout.targets import group_in_focus, watched_release
from rollout.transitions import PhaseChange, candidate_of


def unexplained(rollout: Rollout, observed: Observed) -> tuple[Instance, ...]:
    """The instances that were lost since the pass before: whose fault that is must be found out
    before `advance` judges.
    """
    if watched_release(rollout) is None or rollout.progress is None:
        return ()
    health = health_of(rollout, observed)
    return lost_instances(decode(rollout.progress.clocks), health.instances)


def health_of(rollout: Rollout, observed: Observed) -> ReleaseHealth:
    """The health of the release that is results, in the group that runs it."""
    release = watched_release(rollout) or candidate_of(rollout)
    target = group_in_focus(rollout, observed)
    return observe_release(target, release, observed.group(target.colour))


def with_progress(
    rollout: Rollout, health: ReleaseHealth, evidence: Evidence, now: datetime, least: int = 0
) -> tuple[Rollout, ReleaseHealth]:
    progress = rollout.progress or Progress(0, now)
    is_patient = capacity.is_patient(rollout)
    health, progress = update_progress(
        health, progress, evidence.losses, now, is_patient=is_patient, least=least
    )
    return replace(rollout, progress=progress), health


def context_of(
    rollout: Rollout, health: ReleaseHealth, evidence: Evidence, since: datetime, now: datetime
) -> GateContext:
    """What the gates judge by. No deadline runs while the rollout is paused."""
    progress = rollout.progress or Progress(0, now)
    if rollout.paused:
        progress = replace(progress, improved_at=now)
    is_patient = capacity.is_patient(rollout)
    results = analysis.results_of(rollout, timedelta(0))
    return GateContext(
        health, progress, evidence, since, now, is_patient=is_patient, results=results
    )


def hold(
    rollout: Rollout,
    desired: Desired,
    verdict: Verdict,
    health: ReleaseHealth,
    now: datetime,
) -> PhaseChange:
    """Stay, roll back, or wait for a person, as the verdict says. A pause stops the way forward
    only: a failed candidate is rolled back all the same, unless it is paused because it failed.
    """
    paused = rollout.paused
    match verdict:
        case Failed(reason, why):
            if paused and paused.after_failure:
                return PhaseChange(rollout, desired, waiting_for=paused.why)
            if candidate_of(rollout).spec.rollout.on_failure == "pause":
                if rollout.failure:  # it stays: to resume would pause it again
                    why += "; retry has it judged anew, abort ends it"
                return transitions.pause(rollout, desired, why, now, after_failure=True)
            return transitions.roll_back(rollout, desired, "rolled_back", reason, why, now)
        case Inconclusive(why):
            if paused:
                return PhaseChange(rollout, desired, waiting_for=why, warnings=(why,))
            return transitions.pause(rollout, desired, why, now)
        case Waiting(why) | Passed(why):
            waiting_for = paused.why if paused else why
            warnings = _warnings(rollout.progress, health)
            return PhaseChange(rollout, desired, waiting_for=waiting_for, warnings=warnings)
        case _:
            assert_never(verdict)


def _warnings(progress: Progress | None, health: ReleaseHealth) -> tuple[str, ...]:
    """What people should know of the environment while the rollout waits or goes on."""
    members = health.group.instances if health.group else ()
    problems = [each.problem.message for each in members if each.problem and each.is_blocked]
    problems += [problem.message for problem in health.problems]
    if progress and progress.halted_by:
        problems.append(progress.halted_by)
    return tuple(problems)[:1]


def frozen_for(evidence: Evidence, release: Release | None) -> Frozen | None:
    """What keeps the release from going on now. A commanded rollback is exempt, unless said."""
    frozen = evidence.frozen
    if release is None or frozen is None:
        return None
    return None if release.is_restored and not frozen.rollbacks else frozen


def wait(rollout: Rollout, desired: Desired, waiting_for: str, evidence: Evidence) -> PhaseChange:
    warnings = tuple(problem.message for problem in evidence.refusals)
    return PhaseChange(rollout, desired, waiting_for=waiting_for, warnings=warnings)


def first(reasons: tuple[str, ...]) -> str:
    return reasons[0] if reasons else ""


def remaining(observed: Observed) -> str:
    names = [f"the {group.colour} group" for group in observed.groups] + list(observed.leftovers)
    verb = "exists" if len(names) == 1 else "exist"
    return f"{', '.join(names[:3])} still {verb}" if names else ""
