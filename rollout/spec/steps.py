"""The kinds of step of a rollout. Each is told apart by the field that only it has.

To add one: a class with `goal` (as in "step 1 asks for ... on release 2"), a place in `Step` and
`StepField`, and its field in `KINDS`.
`rollout/strategies` says what a step asks for of the fleet. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from rollout.spec import types
from rollout.spec.section import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Section,
    Tag,
    option_tag,
)
from rollout.spec.types import Allowed, Shorthand

PREVIEW_HEADER = "x-slipway-preview"
"""A request in which it has the candidate's version reaches the candidate from a preview on."""
FIRST_HOLD_SECONDS = 480
"""Shows a release that crashes within five minutes, though the liveness check takes 150 s to notice
it."""

HoldSeconds = Annotated[int, Field(ge=0, le=86400)]
HOLD = (
    "How long a step lasts once it is reached: each of its instances must be healthy for so long"
    " without a break, and what it routes must have been in the load balancer for so long;"
    f" {FIRST_HOLD_SECONDS} by default in the first step"
)


def _in_tenths(value: float) -> float:
    """Percent in steps of 0.1, each in one spelling."""
    tenths = round(value * 10)
    if not math.isclose(tenths, value * 10, rel_tol=0, abs_tol=1e-6):
        raise ValueError("not a multiple of 0.1")
    return tenths / 10


Share = Annotated[
    float,
    Field(ge=0.1, le=100),
    AfterValidator(_in_tenths),
    Allowed("a number from 0.1 to 100, in steps of 0.1"),
]


class StepBase(Section):
    """`is_routed`: whether the step changes the route, once the new release has the capacity."""

    is_routed: ClassVar[bool] = True
    hold_seconds: HoldSeconds = Field(default=60, description=HOLD)
    min_requests: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Requests that the new release must have got in this step before it ends;"
        " needs a source of metrics",
    )


class PercentStep(StepBase):
    """A step that brings the new release to a percentage of the instances. With a second group that
    moves no request.
    """

    is_routed: ClassVar[bool] = False
    percent: Annotated[int, Field(ge=1, le=100)] = Field(
        description="Percent of instances on the new release"
    )

    @property
    def goal(self) -> str:
        return f"{self.percent} %"


class WeightStep(StepBase):
    """A step that sends a share of the requests to the new release."""

    weight: Share = Field(description="Percent of the requests that go to the new release")

    @property
    def per_mille(self) -> int:
        """The weight as targets and the URL map have it, from 0 to 1000."""
        return round(self.weight * 10)

    @property
    def goal(self) -> str:
        return f"{self.weight:g} % of the requests"


class PreviewStep(StepBase):
    """A step in which only those who ask for the new release reach it."""

    preview: Annotated[Literal[True], Allowed("true")] = Field(
        description=f"Requests with the header `{PREVIEW_HEADER}: <version>`, and all for"
        " `traffic.preview_host`, go to the new release until that has everything"
    )

    @property
    def goal(self) -> str:
        return "the preview's requests"


class HeaderMatch(Section):
    """The requests of a cohort."""

    header: types.HeaderName = Field(description="Name of the header")
    value: types.HeaderValue = Field(description="Its exact value")


class MatchStep(StepBase):
    """A step that sends a cohort's requests to the new release."""

    match: HeaderMatch = Field(
        description="Requests with this header go to the new release until that has everything"
    )

    @property
    def goal(self) -> str:
        return f"the requests with the header {self.match.header}"


class MirrorStep(StepBase):
    """A step that sends copies of requests to the new release, and discards its answers."""

    mirror: Share = Field(
        description="Percent of the requests that are copied to the new release during this step;"
        " needs `traffic.mirror_safe`"
    )

    @property
    def per_mille(self) -> int:
        return round(self.mirror * 10)

    @property
    def goal(self) -> str:
        return f"copies of {self.mirror:g} % of the requests"


class Approval(Section):
    """Who must approve, and what follows if nobody does."""

    by: types.Approver = Field(
        description="The topic on which the approval must come, or the key of the policy's"
        " `approvers` that must have signed it"
    )
    timeout_seconds: Annotated[int, Field(ge=60, le=1209600)] = Field(
        default=86400, description="How long it is awaited"
    )
    on_timeout: Literal["rollback", "pause"] = Field(
        default="rollback", description="What to do if it does not come"
    )


class ApproveStep(StepBase):
    """A step that changes nothing and ends when a person has approved the release."""

    is_routed: ClassVar[bool] = False
    approve: Approval = Field(description="The approval without which the rollout does not go on")

    @property
    def goal(self) -> str:
        return f"approval by {self.approve.by}"


Step = PercentStep | WeightStep | PreviewStep | MatchStep | MirrorStep | ApproveStep
KINDS: dict[str, type[StepBase]] = {
    "weight": WeightStep,
    "percent": PercentStep,
    "preview": PreviewStep,
    "match": MatchStep,
    "mirror": MirrorStep,
    "approve": ApproveStep,
}
"""The field by which each kind is told apart."""
_TAGS = {kind: option_tag(kind) for kind in KINDS.values()}


def _step(value: Any) -> Any:
    """An integer is short for `{"percent": integer}`. What is of no kind, or of two, is refused
    here, so that the error says so and names no field that is not in the message.
    """
    if type(value) is int and 1 <= value <= 100:
        return {"percent": value}
    if isinstance(value, Section):
        return value
    if not isinstance(value, dict):
        raise ValueError("not a step")
    from pydantic_core import PydanticCustomError

    kinds = [kind for kind in KINDS if kind in value]
    if not kinds:
        raise PydanticCustomError("rule", _without_kind(value))
    if len(kinds) > 1:
        both = " and ".join(kinds)
        raise PydanticCustomError("rule", f"must be of one kind, and has {both}; make two steps")
    return value


def _without_kind(fields: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = (get_close_matches(each[:64], KINDS, n=1) for each in fields)
    guess = next((f"; did you mean {found[0]}?" for found in close if found), "")
    return f"needs one of {', '.join(KINDS)}{guess}"


def _kind_of_step(value: Any) -> str:
    """The field that tells the kinds apart, as `schema_at` finds it again."""
    return _TAGS.get(type(value)) or next(
        _TAGS[kind] for field, kind in KINDS.items() if field in value
    )


StepField = Annotated[
    Annotated[PercentStep, Tag(option_tag(PercentStep))]
    | Annotated[WeightStep, Tag(option_tag(WeightStep))]
    | Annotated[PreviewStep, Tag(option_tag(PreviewStep))]
    | Annotated[MatchStep, Tag(option_tag(MatchStep))]
    | Annotated[MirrorStep, Tag(option_tag(MirrorStep))]
    | Annotated[ApproveStep, Tag(option_tag(ApproveStep))],
    Discriminator(_kind_of_step),
    BeforeValidator(_step),
    Shorthand({"type": "integer", "minimum": 1, "maximum": 100}),
    Allowed(
        'an integer from 1 to 100, {"percent": 1 to 100} or {"approve": {"by": ...}}; with strategy'
        ' canary or blue_green also {"weight": 0.1 to 100}, {"preview": true}, {"match": {"header":'
        ' ..., "value": ...}} or {"mirror": 0.1 to 100}; each with "hold_seconds": 0 to 86400 and,'
        ' if it sends requests, "min_requests": 1 or more'
    ),
]
"""A step as a message has it."""


# ---- Approvals


def approvers_of(steps: Iterable[Step]) -> frozenset[str]:
    """Who may approve or reject a release with these steps."""
    return frozenset(step.approve.by for step in steps if isinstance(step, ApproveStep))


def promoted_step(steps: Sequence[Step], after: int, *, is_approved: bool) -> int:
    """The step to which a full promotion goes from the step `after` (-1: it has not begun): the
    last, or the one before the next approval, which nobody but an approver skips. `is_approved`:
    the release needs none any more.
    """
    following = range(after + 1, 0 if is_approved else len(steps))
    awaited = next((each for each in following if isinstance(steps[each], ApproveStep)), len(steps))
    return max(after + 1, awaited - 1)


# ---- Defaults

DEFAULT_PERCENTS = (10, 50, 100)
DEFAULT_WEIGHTS = ((1, 300), (5, 600), (25, 600), (50, 600), (100, 60))
DEFAULT_REQUESTS = 200


def default_steps(strategy: str, *, has_metrics: bool = False) -> tuple[Step, ...]:
    """`has_metrics`: requests can be counted, so the first weight needs some."""
    match strategy:
        case "canary":
            (first, hold), *others = DEFAULT_WEIGHTS
            least = DEFAULT_REQUESTS if has_metrics else None
            return (
                WeightStep(weight=first, hold_seconds=hold, min_requests=least),
                *(WeightStep(weight=weight, hold_seconds=hold) for weight, hold in others),
            )
        case "blue_green":
            return hold_longest_at_first((PreviewStep(preview=True), WeightStep(weight=100)))
        case _:
            return hold_longest_at_first(
                tuple(PercentStep(percent=percent) for percent in DEFAULT_PERCENTS)
            )


def hold_longest_at_first(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if not steps or "hold_seconds" in steps[0].model_fields_set:
        return steps
    first = steps[0].model_copy(update={"hold_seconds": FIRST_HOLD_SECONDS})
    return (first, *steps[1:])
