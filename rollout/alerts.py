"""What an alert of somebody's monitoring does to a rollout: an incident of an alert policy that the
release names, and that began during its rollout, fails the release. Pure.

Called by `handlers/alert.py` for each model, when a notification arrives. Invariant: an alert can
only stop a release. One that has closed, is as old as the rollout or is about another policy
changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rollout.analysis import release_under_test
from rollout.deferred import dataclass
from rollout.model import Desired, LatchedFailure, Release, Rollout, Transition, phase_name
from rollout.transitions import PhaseChange

_IDS = "alertPolicies/"


@dataclass(frozen=True)
class Alert:
    """An incident as a notification reports it. `policy_id` may be empty: not each notification
    says it. `is_open`: the incident had not ended when the notification was sent.
    """

    incident: str
    policy: str
    policy_id: str
    is_open: bool
    started_at: datetime
    summary: str = ""
    url: str = ""

    def is_of(self, named: str) -> bool:
        """Whether it is of the policy with this display name, id or full name
        (`projects/P/alertPolicies/ID`).
        """
        _, is_full, policy_id = named.rpartition(_IDS)
        if is_full:
            return bool(policy_id) and policy_id == self.policy_id
        return named in (self.policy, self.policy_id)

    def __str__(self) -> str:
        text = f"alert policy {self.policy}: incident {self.incident}"
        summary = f": {self.summary}" if self.summary else ""
        return f"{text} is open since {self.started_at:%Y-%m-%dT%H:%M:%SZ}{summary}"


def failed_release(rollout: Rollout, alert: Alert) -> Release | None:
    """The release that the alert fails, if any: the one that the gates judge now."""
    release = release_under_test(rollout)
    if release is None or rollout.failure or not alert.is_open:
        return None
    began = rollout.begun_at or release.released_at
    names = release.spec.rollout.abort_on_alerts
    is_about = any(alert.is_of(each) for each in names)
    return release if is_about and alert.started_at > began else None


def fail(rollout: Rollout, desired: Desired, alert: Alert, now: datetime) -> PhaseChange | None:
    """The rollout with its failure; the next pass acts on it. None if the alert changes nothing."""
    release = failed_release(rollout, alert)
    if release is None:
        return None
    phase, why = phase_name(rollout.phase), str(alert)
    evidence = (alert.url,) if alert.url else ()
    transition = Transition(release.version, phase, "alerted", why, "alert", evidence=evidence)
    failure = LatchedFailure("alert", why, now)
    return PhaseChange(replace(rollout, failure=failure), desired, (transition,))
