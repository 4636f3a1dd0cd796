"""The nouns of a rollout: releases, what is desired, what was observed, where the rollout is, what
it asks for next.

Everything is a frozen value. `advance` maps these to a `Decision`; `infra` fills `Observed` from
Compute Engine and makes a `Target` true. What can be observed is never stored: `Rollout` holds only
where we are, since when, and what people asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, assert_never

from rollout.spec.model import Spec

Outcome = Literal["succeeded", "rolled_back", "superseded", "aborted", "refused", "retired"]
Reason = Literal[
    "unhealthy", "stock-out", "quota", "config", "timeout", "aborted", "superseded", "policy"
]
Colour = Literal["blue", "green"]
Health = Literal["healthy", "unhealthy", "unknown"]
Verb = Literal["pause", "resume", "promote", "abort", "rollback", "retire"]


# ---- What people asked for


@dataclass(frozen=True)
class Release:
    """One immutable version of a model. `asked` is the hash of what the event itself said, `digest`
    that of the spec it resolved to. `template` is the instance template's name, fixed when the
    release was accepted, so that a newer Slipway that would write the template differently does not
    silently roll a fleet."""

    version: str
    digest: str
    template: str
    spec: Spec
    generation: int
    released_at: datetime
    event_id: str
    asked: str = ""
    requested_by: str = ""
    reason: str = ""
    force: bool = False


@dataclass(frozen=True)
class Command:
    """A person's word on a rollout. `version`, where given, must be the release on its way, or the
    command changes nothing."""

    verb: Verb
    event_id: str
    given_at: datetime
    version: str = ""
    release: Release | None = None  # for rollback: the kept release to go back to
    requested_by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Desired:
    """The release that should be serving (None: the model is retired) and the commands not yet
    carried out. `latest` is when the newest event that was accepted was published: an older one
    that comes late changes nothing."""

    model: str
    release: Release | None = None
    generation: int = 0
    commands: tuple[Command, ...] = ()
    latest: datetime | None = None


# ---- What Compute Engine said


@dataclass(frozen=True)
class Problem:
    """Why Compute Engine could not do something: its own code, our class of it, and its own
    words."""

    reason: Reason
    code: str
    message: str


@dataclass(frozen=True)
class Instance:
    """`health` is the load balancer's own verdict where the model is exposed, else the group's
    liveness check."""

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


@dataclass(frozen=True)
class VersionView:
    template: str
    size: int | None  # None: the rest of the group


@dataclass(frozen=True)
class GroupView:
    colour: Colour
    target_size: int
    zones: int
    is_stable: bool
    version_reached: bool
    versions: tuple[VersionView, ...]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Observed:
    """The model's groups as read in this turn; a colour that is not there does not exist.
    `leftovers` names what else of the model's own resources still exists, so that "removed" can be
    seen and need not be believed."""

    groups: tuple[GroupView, ...] = ()
    leftovers: tuple[str, ...] = ()

    def group(self, colour: Colour) -> GroupView | None:
        return next((group for group in self.groups if group.colour == colour), None)


@dataclass(frozen=True)
class Evidence:
    """What the turn learned beside the groups: what Compute Engine refused for good, and `pending_changes`,
    the reasons of the changes that are still to be made before the world equals the present
    target."""

    refusals: tuple[Problem, ...] = ()
    pending_changes: tuple[str, ...] = ()


# ---- Where the rollout is


@dataclass(frozen=True)
class Settled:
    """No rollout: the stable release serves, or nothing does and nothing should."""


@dataclass(frozen=True)
class Stepping:
    """The candidate takes over step by step; `step` counts from 0 in the strategy's ladder."""

    step: int
    since: datetime


@dataclass(frozen=True)
class Baking:
    """The candidate has everything; the stable template is kept until the bake time has passed in
    good health."""

    since: datetime


@dataclass(frozen=True)
class RollingBack:
    """The candidate is being removed; the outcome goes on record when none of it is left."""

    outcome: Outcome
    reason: Reason
    why: str
    since: datetime


@dataclass(frozen=True)
class Retiring:
    since: datetime
    why: str


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
    """Why nothing moves on. `after_failure`: Slipway itself held a failed candidate, as
    `rollout.on_failure` asked."""

    why: str
    since: datetime
    after_failure: bool = False


@dataclass(frozen=True)
class Progress:
    """The best the candidate has shown in this phase and when it last got better. `degraded_since` is
    set while it shows less than that, and `flaps` counts how often it fell."""

    healthy: int
    at: datetime
    flaps: int = 0
    degraded_since: datetime | None = None


@dataclass(frozen=True)
class Rollout:
    phase: Phase = field(default_factory=Settled)
    stable: Release | None = None
    candidate: Release | None = None
    previous: Release | None = None
    steps: str = ""  # hash of the candidate's steps
    progress: Progress | None = None
    paused: Pause | None = None
    promoted: bool = False
    last_observed_at: datetime | None = (
        None  # when the rollout was last looked at, to within `advance.WATCHED_EVERY`
    )
    failed: tuple[str, ...] = ()  # digests that went back; not rolled again unless forced


# ---- What a turn answers


@dataclass(frozen=True)
class Share:
    """How many instances of a group run a release; None is the rest."""

    release: Release
    count: int | None = None


@dataclass(frozen=True)
class GroupTarget:
    """One group: its releases (at most two), whose settings it carries, and the autoscaler's bounds
    for now."""

    colour: Colour
    shares: tuple[Share, ...]
    settings: Release
    min: int
    max: int
    may_scale_in: bool
    surge: int
    unavailable: int


@dataclass(frozen=True)
class Target:
    """What the model's whole world should be now. No group at all means: remove everything that is
    the model's."""

    model: str
    groups: tuple[GroupTarget, ...] = ()
    kept_templates: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Transition:
    """One step of the story, written to the log and published once: `from_` and `to` name phases or
    outcomes."""

    release: str
    from_: str
    to: str
    why: str
    reason: Reason | None = None
    outcome: Outcome | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition:
    type: str
    why: str
    since: datetime


@dataclass(frozen=True)
class Decision:
    """What `advance` answers. `waiting_for` says what the present phase waits for; `requeue_at` is None when
    nothing needs a look."""

    rollout: Rollout
    desired: Desired
    target: Target
    requeue_at: datetime | None
    waiting_for: str = ""
    transitions: tuple[Transition, ...] = ()
    conditions: tuple[Condition, ...] = ()
