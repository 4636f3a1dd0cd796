"""What each step of a rollout asks for: instances, surge, cost, time, the way back. Pure.

Called by `infra/fleet/forecast.py`. The targets are the strategies' own; what is added here is how
many instances exist at most and serve at least while the group moves from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from datetime import datetime

from infra.fleet.resources.instance_group import legal_budget
from rollout.course import PhaseTime, Prediction
from rollout.deferred import dataclass
from rollout.gate_times import GateTraffic, seconds_to_pass
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Desired,
    GroupTarget,
    Observed,
    Release,
    Rollout,
    Share,
    Stepping,
    phase_name,
    step_name,
)
from rollout.policy.caps import clamp
from rollout.policy.policy import Policy
from rollout.policy.prices import Prices, cost_per_hour
from rollout.policy.usage import Usage
from rollout.spec.defaults import startup_seconds
from rollout.spec.model import Spec
from rollout.spec.steps import ApproveStep, PercentStep, Step, WeightStep
from rollout.spec.way_back import (
    PROPAGATION_SECONDS,
    REPLACEMENT_SECONDS,
    WRITE_SECONDS,
    rounds,
)
from rollout.strategies import has_own_group
from rollout.strategies.base import FIRST_GROUP
from rollout.targets import plan_of, target_of
from rollout.transitions import candidate_of
from rollout.way_back_time import exceeds_limit, seconds_after


@dataclass(frozen=True)
class PlannedStep:
    """`stable`, `candidate`: instances of each release when the step is reached. `weight`: percent
    of the requests, None if they follow the instances. `surge`: instances beyond that while they
    are replaced, and `lowest`: how many serve at least. `hold_seconds` includes what the gates need
    at least, and the time in which instances that leave drain. `seconds_to_roll_back`: None without
    a release to return to.
    """

    number: int
    goal: str
    stable: int
    candidate: int
    weight: float | None
    surge: int
    lowest: int
    peak: Usage
    start_seconds: int
    hold_seconds: int
    seconds_to_roll_back: int | None
    approval: str
    gates: tuple[str, ...]
    problem: str

    @property
    def seconds(self) -> int:
        return self.start_seconds + self.hold_seconds


@dataclass(frozen=True)
class _Sizes:
    """Instances by release, those replaced within their group, and that group."""

    stable: int
    candidate: int
    replaced: int
    group: GroupTarget | None


@dataclass(frozen=True)
class Basis:
    """What the steps are computed from. `start_seconds`: measured in past rollouts, if any.
    `traffic`: of the stable release by gate, as far as a source of metrics has it.
    """

    rollout: Rollout
    desired: Desired
    observed: Observed
    policy: Policy
    prices: Prices
    start_seconds: int | None
    now: datetime
    traffic: Mapping[str, GateTraffic] = field(default_factory=dict)


def planned_steps(basis: Basis) -> Iterator[PlannedStep]:
    """`basis.rollout`: it has just begun."""
    _, _, steps = plan_of(basis.rollout)
    before = _Sizes(_present(basis), 0, 0, None)
    for index, step in enumerate(steps):
        sizes = _sizes(basis, steps, index, before)
        yield _planned(basis, steps, index, step, sizes, before)
        before = sizes


def prediction_of(basis: Basis) -> Prediction:
    """What the rollout is expected to take; without a rollout, nothing."""
    candidate, stable = basis.rollout.candidate, basis.rollout.stable
    if candidate is None:
        return Prediction(currency=basis.prices.currency)
    steps = tuple(planned_steps(basis))
    phases = [PhaseTime(step_name(each.number - 1), each.seconds) for each in steps]
    if bake := candidate.spec.rollout.bake_seconds:
        phases.append(PhaseTime(phase_name(Baking(basis.now)), bake))
    peak = peak_of(steps)
    ways_back = [each.seconds_to_roll_back for each in steps]
    return Prediction(
        phases=tuple(phases),
        instances=peak.instances,
        accelerators=peak.accelerators,
        cost=_price(peak.cost),
        lowest=min(each.lowest for each in steps),
        seconds_to_roll_back=max((each for each in ways_back if each is not None), default=None),
        stable_cost=_price(cost_per_hour(basis.prices, stable.spec)) if stable else None,
        candidate_cost=_price(cost_per_hour(basis.prices, candidate.spec)),
        currency=basis.prices.currency,
    )


def peak_of(steps: Iterable[PlannedStep]) -> Usage:
    peaks = [each.peak for each in steps] or [Usage()]
    return Usage(
        max(each.instances for each in peaks),
        max(each.accelerators for each in peaks),
        max(each.cost for each in peaks),
    )


def _price(cost: float) -> float | None:
    """None without a price."""
    return None if math.isinf(cost) else cost


def start_seconds_of(basis: Basis) -> int:
    """Until an instance is healthy, from when it is asked for."""
    spec = candidate_of(basis.rollout).spec
    return basis.start_seconds or REPLACEMENT_SECONDS + startup_seconds(spec)


def _planned(
    basis: Basis,
    steps: tuple[Step, ...],
    index: int,
    step: Step,
    sizes: _Sizes,
    before: _Sizes,
) -> PlannedStep:
    rollout, candidate = basis.rollout, candidate_of(basis.rollout)
    surge, unavailable = _budget(sizes, candidate.spec)
    stable, spec = rollout.stable, candidate.spec
    gates = _gates_in(rollout, step)
    hold = 0 if isinstance(step, ApproveStep) else step.hold_seconds
    weight = _weight(steps, index) if has_own_group(rollout) else None
    serving = sizes.stable if has_own_group(rollout) else before.stable + before.candidate
    return PlannedStep(
        number=index + 1,
        goal=step.goal,
        stable=sizes.stable,
        candidate=sizes.candidate,
        weight=None if weight is None else weight / FULL_WEIGHT * 100,
        surge=surge,
        lowest=_lowest(basis, index, serving - unavailable) if stable else 0,
        peak=_usage(basis, sizes, surge),
        start_seconds=_start(basis, step, sizes, before),
        hold_seconds=max(
            hold,
            *(_gate_seconds(basis, index, step, gate) for gate in gates),
            _seconds_of_requests(basis, step),
            spec.traffic.draining_seconds if sizes.replaced else 0,
        ),
        seconds_to_roll_back=_way_back(basis, step),
        approval=step.approve.by if isinstance(step, ApproveStep) else "",
        gates=gates,
        problem=exceeds_limit(rollout, step, basis.observed),
    )


def _lowest(basis: Basis, index: int, promised: int) -> int:
    """What is sick before the first step does not serve in it. A rollout waits for what starts, and
    each later step for a stable group.
    """
    group = basis.observed.group(basis.rollout.serving_group or FIRST_GROUP)
    if index == 0 and group:
        able = sum(each.is_healthy or not each.is_settled for each in group.instances)
        promised = min(promised, able)
    return max(0, promised)


def _way_back(basis: Basis, step: Step) -> int | None:
    stable = basis.rollout.stable
    if stable is None:
        return None
    is_same = stable.template == candidate_of(basis.rollout).template
    if is_same and not has_own_group(basis.rollout):
        return 0  # no instance is replaced
    return seconds_after(basis.rollout, stable, step, basis.observed)


def _present(basis: Basis) -> int:
    group = basis.observed.group(basis.rollout.serving_group or FIRST_GROUP)
    return group.target_size if group and basis.rollout.stable else 0


def _sizes(basis: Basis, steps: tuple[Step, ...], index: int, before: _Sizes) -> _Sizes:
    rollout, candidate = basis.rollout, candidate_of(basis.rollout)
    is_beside = has_own_group(rollout)
    at = Stepping(index, basis.now, _weight(steps, index) if is_beside else 0, granted=index + 1)
    target = target_of(replace(rollout, phase=at), basis.desired, basis.observed)
    shares = [
        (group, share.release, count)
        for group in clamp(basis.policy, target).groups
        for share, count in _counts(basis, group)
    ]
    new = sum(count for _, release, count in shares if release.generation == candidate.generation)
    old = sum(count for _, _, count in shares) - new
    stable = rollout.stable
    if is_beside or stable is None or stable.template == candidate.template:
        return _Sizes(old, new, 0, None)
    return _Sizes(old, new, max(0, new - before.candidate), shares[0][0])


def _counts(basis: Basis, group: GroupTarget) -> Iterator[tuple[Share, int]]:
    """How many instances of a group each release has. The group keeps its size within its bounds;
    that of a candidate beside the stable release has as many as its share of the demand needs.
    """
    view = basis.observed.group(group.colour)
    is_own = has_own_group(basis.rollout) and group.colour != basis.rollout.serving_group
    size = group.min
    if view and not is_own:
        size = min(group.max, max(group.min, view.target_size))
    given = sum(share.count or 0 for share in group.shares)
    for share in group.shares:
        yield share, size - given if share.count is None else share.count


def _weight(steps: tuple[Step, ...], index: int) -> int:
    """The weight once the step has what it asks for: that of the last step with one."""
    weights = [each.per_mille for each in steps[: index + 1] if isinstance(each, WeightStep)]
    return weights[-1] if weights else 0


def _budget(sizes: _Sizes, spec: Spec) -> tuple[int, int]:
    """How many instances Compute Engine adds, and takes away, while it replaces those of the step:
    what is legal for a regional group, and no more than there are to replace.
    """
    if sizes.group is None or not sizes.replaced:
        return 0, 0
    zones = spec.placement.zone_count
    surge, unavailable = legal_budget(sizes.group.surge, sizes.group.unavailable, zones)
    return min(surge, sizes.replaced), min(unavailable, sizes.replaced)


def _usage(basis: Basis, sizes: _Sizes, surge: int) -> Usage:
    """Additional instances run the candidate."""
    candidate, stable = candidate_of(basis.rollout), basis.rollout.stable
    parts = [(candidate, sizes.candidate + surge), *([(stable, sizes.stable)] if stable else [])]
    return sum((_usage_of(basis.prices, release, count) for release, count in parts), Usage())


def _usage_of(prices: Prices, release: Release, count: int) -> Usage:
    if not count:
        return Usage()
    accelerator = release.spec.machine.accelerator
    each = accelerator.count if accelerator else 0
    return Usage(count, count * each, count * cost_per_hour(prices, release.spec))


def _start(basis: Basis, step: Step, sizes: _Sizes, before: _Sizes) -> int:
    """Until what the step asks for is there. Within one group, instances are replaced in rounds,
    and those that leave drain before the next round.
    """
    rollout, spec = basis.rollout, candidate_of(basis.rollout).spec
    start = start_seconds_of(basis)
    if isinstance(step, ApproveStep):
        return 0
    if has_own_group(rollout):
        route = WRITE_SECONDS + PROPAGATION_SECONDS if step.is_routed else 0
        return route + (start if sizes.candidate > before.candidate else 0)
    if not sizes.replaced:
        return start if sizes.candidate > before.candidate and not rollout.stable else 0
    fullest_zone = -(-sizes.replaced // spec.placement.zone_count)
    in_place = rollout.capacity == "replace_in_place"
    count = rounds(fullest_zone, spec, in_place=in_place)
    return count * start + (count - 1) * spec.traffic.draining_seconds


def _gates_in(rollout: Rollout, step: Step) -> tuple[str, ...]:
    """The gates that compare two releases judge each step in which both have requests."""
    gates = candidate_of(rollout).spec.rollout.gates
    return tuple(gates) if 0 < share_of(rollout, step) < 1 else ()


def share_of(rollout: Rollout, step: Step) -> float:
    """The part of the requests that the candidate has in the step."""
    if isinstance(step, WeightStep):
        return step.per_mille / FULL_WEIGHT
    if isinstance(step, PercentStep) and not has_own_group(rollout):
        return step.percent / 100
    return 0.0


def _gate_seconds(basis: Basis, index: int, step: Step, gate: str) -> int:
    """What only records holds up nothing."""
    if candidate_of(basis.rollout).spec.rollout.gates[gate].dry_run:
        return 0
    traffic = basis.traffic.get(gate)
    return seconds_to_pass(basis.rollout, gate, index, share_of(basis.rollout, step), traffic)


def _seconds_of_requests(basis: Basis, step: Step) -> int:
    """Until the candidate has the step's `min_requests`; 0 if the traffic is not known."""
    rates = [each.requests_per_second for each in basis.traffic.values()]
    rate = max(rates, default=0.0) * share_of(basis.rollout, step)
    least = None if isinstance(step, ApproveStep) else step.min_requests
    return math.ceil(least / rate) if least and rate else 0
