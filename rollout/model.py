"""The values of a rollout: releases, the desired and the observed state, phases, targets,
decisions.

Everything is frozen. `advance` maps these values to a `Decision`; `infra/fleet` fills `Observed`
from Compute Engine and plans the changes that make a `Target` true. What can be observed is never
stored: `Rollout` holds only the phase, since when, and what people requested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, assert_never

from rollout.deferred import dataclass
from rollout.measurements import Answer, RequestCount, VerdictAnswer, WindowAnswer
from rollout.spec.model import Spec

if TYPE_CHECKING:
    from rollout.gates.record import GateRecord

Outcome = Literal["succeeded", "rolled_back", "superseded", "aborted", "refused", "retired"]
Reason = Literal[
    "unhealthy",
    "stock-out",
    "quota",
    "config",
    "timeout",
    "rejected",
    "aborted",
    "superseded",
    "policy",
    "gate",
    "alert",
]
Colour = Literal["blue", "green"]
Health = Literal["healthy", "unhealthy", "unknown"]
Verb = Literal[
    "approve", "reject", "promote", "pause", "resume", "abort", "rollback", "retry", "retire"
]
CapacityMode = Literal["surge", "replace_in_place", "wait"]

FULL_WEIGHT = 1000  # weights of a URL map's weighted backend services go from 0 to 1000


# ---- Intents


@dataclass(frozen=True, order=True)
class IntentKey:
    """The place of a release or command in the line of a model's intents: by publish time, then the
    CloudEvent's own time, then the event's id. When an intent arrived plays no part. Shorter ids
    come first, so that numbers are in their order.
    """

    published_at: datetime
    sent_at: datetime
    id_length: int
    id: str
    event_id: str


@dataclass(frozen=True)
class Release:
    """One immutable version of a model.

    `patch_digest` is the SHA-256 of the event's own sections, `digest` that of the resolved spec.
    `template` is the instance template's name. It is fixed when the release is accepted, so that a
    newer Slipway that would render the template differently does not roll a fleet by itself.
    `inherits_from` is the version that what the event left out was taken from, and `not_inherited`
    the fields that were not, since they do not fit the strategy. `is_restored`: a rollback made it
    the desired one again; then the times and the ids are the command's. `event_id` is unique and
    made from `own_id`, which the event carries, and its source. `plan`: the hash of the plan by
    which it was published, if any.
    """

    version: str
    digest: str
    template: str
    spec: Spec
    generation: int
    released_at: datetime
    event_id: str
    patch_digest: str = ""
    requested_by: str = ""
    reason: str = ""
    force: bool = False
    sent_at: datetime | None = None
    own_id: str = ""
    inherits_from: str = ""
    is_restored: bool = False
    not_inherited: str = ""
    plan: str = ""

    @property
    def key(self) -> IntentKey:
        sent_at, own_id = self.sent_at or self.released_at, self.own_id
        return IntentKey(self.released_at, sent_at, len(own_id), own_id, self.event_id)


@dataclass(frozen=True)
class Intent:
    """A release or a person's command in the line of a model's intents.

    `version` is the release's, or the one that the command names. `generation` is the release's, or
    that of the release which a rollback restores: `goal`, the one that it names or, without a
    version, the one that served before. A `retry` with a generation publishes its release again;
    without, it is about the candidate. `target` is the generation of the release that a command is
    about, 0 if there is none. `is_full`: see `transitions.promote`. `approver`: the topic or the
    key that vouches for an `approve` or `reject`, empty if none does.
    """

    verb: Verb | Literal["release"]
    event_id: str
    published_at: datetime
    sent_at: datetime
    version: str = ""
    generation: int = 0
    goal: Release | None = None
    target: int = 0
    requested_by: str = ""
    reason: str = ""
    own_id: str = ""
    is_full: bool = False
    approver: str = ""

    @property
    def key(self) -> IntentKey:
        own_id = self.own_id
        return IntentKey(self.published_at, self.sent_at, len(own_id), own_id, self.event_id)


@dataclass(frozen=True)
class Desired:
    """The release that should serve (None: the model is retired), and what people commanded about
    it before its rollout began: `paused` says why it begins paused, `promoted` that it skips steps
    and bake.

    `line` holds the latest intents in order of their keys. `release`, `paused` and `promoted`
    follow from it and from what became of the releases; see `rollout/intents.py`.
    """

    model: str
    release: Release | None = None
    generation: int = 0
    paused: str = ""
    promoted: bool = False
    line: tuple[Intent, ...] = ()


# ---- Observed state


@dataclass(frozen=True)
class Problem:
    """Why Compute Engine could not do something: our class of it, its own code, its own words."""

    reason: Reason
    code: str
    message: str


@dataclass(frozen=True)
class Instance:
    """`health` is the load balancer's verdict if the model is exposed, else the group's liveness
    check.
    """

    name: str
    zone: str
    template: str | None
    action: str
    status: str
    health: Health
    problem: Problem | None = None

    @property
    def is_settled(self) -> bool:
        return self.action == "NONE" and self.status == "RUNNING"

    @property
    def is_running(self) -> bool:
        """Whether its VM runs and is not being replaced or restarted."""
        return self.status == "RUNNING" and self.action in ("NONE", "VERIFYING", "REFRESHING")

    @property
    def is_healthy(self) -> bool:
        return self.is_settled and self.health == "healthy"

    @property
    def is_blocked(self) -> bool:
        """No VM, because there is no capacity or no quota for it."""
        lacks = self.problem is not None and self.problem.reason in ("stock-out", "quota")
        return lacks and self.status != "RUNNING"

    @property
    def is_leaving(self) -> bool:
        return self.action in ("DELETING", "ABANDONING")


@dataclass(frozen=True)
class Bounds:
    """Between which sizes an autoscaler keeps its group, and whether it may make it smaller."""

    min: int
    max: int
    may_scale_in: bool = True


@dataclass(frozen=True)
class GroupView:
    """One observed managed instance group of the model, and its autoscaler's bounds and
    `recommended_size`, the size that it computes from the load, if read.
    """

    colour: Colour
    region: str
    target_size: int
    is_stable: bool
    instances: tuple[Instance, ...]
    bounds: Bounds | None = None
    recommended_size: int | None = None


@dataclass(frozen=True)
class Observed:
    """The model's groups as read in this pass; a missing colour does not exist. `leftovers` names
    the model's other resources that still exist, so that a removal is observed and not assumed.
    """

    groups: tuple[GroupView, ...] = ()
    leftovers: tuple[str, ...] = ()

    def group(self, colour: Colour) -> GroupView | None:
        return next((group for group in self.groups if group.colour == colour), None)


@dataclass(frozen=True)
class Loss:
    """Why an instance was lost, and whose fault that is. What is not explained is nobody's."""

    instance: str
    owner: Literal["release", "environment"]
    why: str


@dataclass(frozen=True)
class Frozen:
    """The policy lets no rollout begin or go on until then. `rollbacks`: commanded ones neither."""

    why: str
    until: datetime
    rollbacks: bool = False


@dataclass(frozen=True)
class Room:
    """For how many more instances of a release the region's quotas have room, and which one runs
    out first. A hint: others use the same quota.
    """

    instances: int
    why: str


@dataclass(frozen=True)
class Measurement:
    """What the source of metrics answered to a query, for each group."""

    query: RequestCount
    answers: tuple[tuple[Colour, Answer], ...]


@dataclass(frozen=True)
class Evidence:
    """What the pass learned beside the groups: `refusals`, what Compute Engine or the policy
    refused for good, `pending_changes`, why the observed state still differs from the present
    target, `losses`, why instances were lost, `has_no_template`, whether the candidate's template
    does not exist, so that no group can run the candidate, and `is_routed`, whether the URL map has
    the present target's weights, or no route if the target has none. `frozen`: see `Frozen`.
    `room`: for how many instances of the desired release the quotas have room, if that was read.
    `edited_by`: who changed the URL map last beside Slipway, and when, if Compute Engine says so.
    `measurements`: the answers to what `queries_of` of a step names, and `windows` those of the
    release's own gates, by name. `before`: what the gates of a release that is about to begin find
    out about the stable one. `replanned`: why the plan by which the desired release was published
    does not hold any more; empty if it does. `routine_interval`: how far routine passes are apart
    at least, while many models share the reads.
    """

    refusals: tuple[Problem, ...] = ()
    pending_changes: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    has_no_template: bool = False
    frozen: Frozen | None = None
    is_routed: bool = True
    edited_by: str = ""
    room: Room | None = None
    measurements: tuple[Measurement, ...] = ()
    windows: Mapping[str, WindowAnswer | VerdictAnswer] = field(default_factory=dict)
    before: Mapping[str, WindowAnswer] = field(default_factory=dict)
    replanned: str = ""
    routine_interval: timedelta = timedelta(0)

    def answers(self, query: RequestCount) -> dict[Colour, Answer]:
        """By group; none if it was not asked. The time at which it was asked does not matter."""
        for each in self.measurements:
            is_same = each.query.purpose == query.purpose
            if is_same and (query.purpose == "demand" or each.query.since == query.since):
                return dict(each.answers)
        return {}


# ---- Phases


@dataclass(frozen=True)
class Settled:
    """No rollout: the stable release serves, or nothing does and nothing should."""


@dataclass(frozen=True)
class Stepping:
    """The candidate takes over step by step; `step` counts from 0 in the strategy's steps.

    `weight` is the part of the requests, from 0 to `FULL_WEIGHT`, that the candidate has been
    granted, and `granted` the number of steps up to the last one whose requests it has: a step's
    are granted once its instances are healthy. `routed_since`: since when the URL map has had what
    is granted so far; None if it has not, or if the candidate has no group of its own.
    `is_promoted`: a person ended the step's hold. `approved_by`: who approved the step, if it asks
    for approval. `unmeasured_since`: since when what the step needs to know of requests has not
    been measured, though it was asked.
    """

    step: int
    since: datetime
    weight: int = 0
    routed_since: datetime | None = None
    granted: int = 0
    is_promoted: bool = False
    approved_by: str = ""
    unmeasured_since: datetime | None = None

    @property
    def is_granted(self) -> bool:
        """Whether the candidate has what the present step sends it."""
        return self.granted > self.step


@dataclass(frozen=True)
class Baking:
    """The candidate has everything; the way back is kept until it has been healthy for the bake
    time. `routed_since`: see `Stepping`. `is_promoted`: a person ended that time.
    """

    since: datetime
    routed_since: datetime | None = None
    is_promoted: bool = False


@dataclass(frozen=True)
class RollingBack:
    """The candidate is being removed. The outcome is recorded when none of it is left.

    `remaining` is the smallest number of instances that had yet to leave or to become healthy, and
    `improved_at` when it was reached. `in_place`: without room for more instances, the candidate's
    are replaced in place. `stalled`: why the rollback does not get on by itself; empty if it does.
    `is_drained`: the candidate's own group has no request in flight, so it may go; until then it
    stays without requests, since `routed_since` at the latest. `weight`: the part of the requests
    that it keeps while the stable release lacks the instances for them.
    """

    outcome: Outcome
    reason: Reason
    why: str
    since: datetime
    remaining: int | None = None
    improved_at: datetime | None = None
    in_place: bool = False
    stalled: str = ""
    is_drained: bool = True
    routed_since: datetime | None = None
    weight: int = 0


@dataclass(frozen=True)
class Retiring:
    """Everything of the model is being removed: first its route, and its groups when it has drained
    (`is_drained`). `routed_since`: since when the URL map has no route to it.
    """

    since: datetime
    why: str
    is_drained: bool = True
    routed_since: datetime | None = None


Phase = Settled | Stepping | Baking | RollingBack | Retiring


def phase_name(phase: Phase) -> str:
    """The phase's name in the log, in status events and for people."""
    match phase:
        case Settled():
            return "settled"
        case Stepping(step):
            return step_name(step)
        case Baking():
            return "baking"
        case RollingBack():
            return "rolling_back"
        case Retiring():
            return "retiring"
        case _:
            assert_never(phase)


def step_name(step: int) -> str:
    return f"step_{step + 1}"


@dataclass(frozen=True)
class Pause:
    """Why the rollout does not move on. `after_failure`: Slipway paused a failed candidate because
    `rollout.on_failure` is `pause`.
    """

    why: str
    since: datetime
    after_failure: bool = False


@dataclass(frozen=True)
class Progress:
    """What is remembered of the candidate's instances.

    `healthy` are the most healthy ones in this phase, and `improved_at` when there were so many.
    `halted_since`: no deadline runs, because the environment took instances; `halted_by` says which
    and why. The rest lasts for the whole rollout: `initial_size`, the group's target size when it
    began; `size`, how many of it have had a running VM; `clocks`, what each instance has shown;
    `flaps`, when the release lost healthy ones, both in the compact form of `gates/clocks.py`; and
    `needed`, the most instances that it was to have.
    """

    healthy: int
    improved_at: datetime
    halted_since: datetime | None = None
    halted_by: str = ""
    initial_size: int = 0
    size: int = 0
    clocks: str = ""
    flaps: str = ""
    needed: int = 0

    @property
    def is_degraded(self) -> bool:
        """Whether any instance that has run is not healthy."""
        return any(f"{state}@" in self.clocks for state in ("starting", "silent", "lost", "gone"))


@dataclass(frozen=True)
class Demand:
    """The most that users have asked of the model since the rollout began: `instances` of the
    stable release, and the requests a second, None if they are not measured.
    """

    instances: int
    requests_per_second: float | None = None


@dataclass(frozen=True)
class Kept:
    """The group of the previous release, which is kept until `until`, so that it can take requests
    back at once. `since`: since when the URL map sends it none; None if it is not so.
    `is_leaving`: it is being removed.
    """

    release: Release
    colour: Colour
    since: datetime | None
    until: datetime
    is_leaving: bool = False


@dataclass(frozen=True)
class Moved:
    """A gateway that the model has left: that of `release`, whose route stays there until what
    arrives there has drained. `since`: since when the model's present routes were read as they
    should be. `is_leaving`: the route is being removed.
    """

    release: Release
    since: datetime | None = None
    is_leaving: bool = False


@dataclass(frozen=True)
class Loan:
    """A group that may have more than its release asks for: the bounds to restore, and the largest
    size that it has had meanwhile.
    """

    colour: Colour
    region: str
    bounds: Bounds
    size: int


@dataclass(frozen=True)
class CapacityLease:
    """What a rollout has borrowed of its groups' bounds. See `rollout/capacity_lease.py`."""

    since: datetime
    expires_at: datetime
    loans: tuple[Loan, ...]


@dataclass(frozen=True)
class LatchedFailure:
    """What has failed the release for good, whatever is observed later."""

    reason: Reason
    why: str
    since: datetime


@dataclass(frozen=True)
class Rollout:
    """Where a model is between two releases.

    `stable` is the last release that baked, `previous` the one before it. `serving_group` is the
    group that serves the stable release; None if there is none. `stable_kept` is set while the
    candidate takes over a stalled rollback: how many instances of the stable release are kept, at
    most, because it may not be able to start another one. `step_seconds`: how long the instances of
    the last step took to be healthy, in this rollout or an earlier one; None if none has ended.
    """

    phase: Phase = field(default_factory=Settled)
    stable: Release | None = None
    candidate: Release | None = None
    previous: Release | None = None
    steps_digest: str = ""  # of the candidate's steps
    progress: Progress | None = None
    paused: Pause | None = None
    promoted: bool = False
    last_observed_at: datetime | None = None  # to within `advance.OBSERVED_EVERY`
    failed_digests: tuple[str, ...] = ()  # releases that were rolled back; refused unless forced
    last_failed: str = ""  # the version that `retry` tries again if it names none
    serving_group: Colour | None = None
    watched_since: datetime | None = None  # settled, but the stable release is still watched
    stable_kept: int | None = None
    kept: Kept | None = None
    route_edits: int = 0  # of others, in this rollout or since it was resumed
    capacity_lease: CapacityLease | None = None
    capacity: CapacityMode | None = None  # chosen when the rollout began
    demand: Demand | None = None
    begun_at: datetime | None = None  # when the last rollout began, or `retry` began it anew
    gates: tuple[GateRecord, ...] = ()  # of the release that is judged, see `rollout/analysis.py`
    failure: LatchedFailure | None = None
    starting_since: datetime | None = None  # see `rollout/starting.py`

    step_seconds: int | None = None
    moved: tuple[Moved, ...] = ()  # see `rollout/moves.py`


# ---- Targets and decisions


@dataclass(frozen=True)
class Share:
    """How many instances of a group run a release; None is the rest. Of two shares the second is
    the release that takes over.
    """

    release: Release
    count: int | None = None


@dataclass(frozen=True)
class GroupTarget:
    """One group: its releases (at most two), the release whose settings it carries, and the
    autoscaler's present bounds. `keeps_unhealthy`: it is the candidate's own, and an
    unhealthy instance is not repaired, since it is evidence. `basis`: from what `min` follows, for
    people; None if the demand must be measured first.
    """

    colour: Colour
    shares: tuple[Share, ...]
    settings: Release
    min: int
    max: int
    may_scale_in: bool
    surge: int
    unavailable: int
    keeps_unhealthy: bool = False
    basis: str | None = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class TrafficWeight:
    """A group's part of the model's requests, from 0 to `FULL_WEIGHT`."""

    colour: Colour
    weight: int


@dataclass(frozen=True)
class Cohort:
    """Requests that go to one group whatever the weights: those for the model's path whose header
    `header` is exactly `value`, and, if `host` is given, all those for that host.
    """

    colour: Colour
    header: str
    value: str
    host: str = ""


@dataclass(frozen=True)
class Mirror:
    """A group that gets copies of `weight` of `FULL_WEIGHT` requests; answers are discarded."""

    colour: Colour
    weight: int


@dataclass(frozen=True)
class TrafficTarget:
    """The model's route: `settings` is the release whose host, path and certificate it has. A
    request of a cohort goes to the cohort's group, any other one by the weights. `also`: releases
    whose gateway, host and path have the same route while the model moves. `is_claimed`: the
    stable release has had this host and path since it settled, and no release of the rollout moves
    them. So a rule for them that serves others is an edit, and not older than the model.
    """

    settings: Release
    weights: tuple[TrafficWeight, ...]
    cohorts: tuple[Cohort, ...] = ()
    mirror: Mirror | None = None
    is_claimed: bool = False
    also: tuple[Release, ...] = ()


@dataclass(frozen=True)
class FleetTarget:
    """What a strategy asks for: groups, and how requests are split among them (None: no route).
    `is_draining`: see `Target`.
    """

    groups: tuple[GroupTarget, ...] = ()
    traffic: TrafficTarget | None = None
    is_draining: bool = False


@dataclass(frozen=True)
class Target:
    """Everything of a model as it should be now. Without groups: remove all that is the model's,
    but only its route while `is_draining`.
    """

    model: str
    groups: tuple[GroupTarget, ...] = ()
    kept_templates: frozenset[str] = frozenset()
    traffic: TrafficTarget | None = None
    is_draining: bool = False

    @property
    def main_group(self) -> Colour | None:
        """The group that most requests go to, or the largest one if the model is not exposed."""
        if self.traffic:
            return max(self.traffic.weights, key=lambda each: each.weight).colour
        largest = max(self.groups, key=lambda group: group.max, default=None)
        return largest.colour if largest else None

    def runs(self, release: Release) -> bool:
        return any(share.release == release for group in self.groups for share in group.shares)


@dataclass(frozen=True)
class Transition:
    """One entry of the log, published once as a status event; `from_` and `to` name phases or
    outcomes. `gates`: the records of those whose verdict it is about.
    """

    release: str
    from_: str
    to: str
    why: str
    reason: Reason | None = None
    outcome: Outcome | None = None
    evidence: tuple[str, ...] = ()
    inherits_from: str = ""
    gates: tuple[GateRecord, ...] = ()


@dataclass(frozen=True)
class Condition:
    type: str
    why: str
    since: datetime


@dataclass(frozen=True)
class Decision:
    """What `advance` answers. `waiting_for` says what the present phase waits for; `requeue_at` is
    None when no further pass is needed.
    """

    rollout: Rollout
    desired: Desired
    target: Target
    requeue_at: datetime | None
    waiting_for: str = ""
    transitions: tuple[Transition, ...] = ()
    conditions: tuple[Condition, ...] = ()
    seconds_to_roll_back: int | None = None
