"""Forecasts a rollout before it begins: `rollout_plan(...) -> RolloutPlan`. Pure.

Called by `handlers/forecast.py` for `slipway plan`. It decides nothing itself: the rollout begins
by `transitions.begin`, each step's target is its strategy's, the diff of resources is `plan`'s. An
estimate says from what it follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from infra.fleet import gateway_room, preflight
from infra.fleet.changes import ResourceChange, kinds_of, resource_changes
from infra.fleet.forecast_steps import (
    Basis,
    PlannedStep,
    peak_of,
    planned_steps,
    share_of,
    start_seconds_of,
)
from infra.fleet.model import Plan, Snapshot
from infra.fleet.observe import observe, url_maps
from infra.fleet.preflight import Answers
from infra.fleet.room import room
from infra.fleet.whole_plan import whole_plan
from rollout import capacity, transitions
from rollout.deferred import dataclass
from rollout.gate_times import GateTraffic, compares, seconds_to_pass, traffic_of
from rollout.measurements import Delayed, Unmeasured, WindowAnswer
from rollout.model import Problem, Release, Rollout, phase_name
from rollout.plan_hash import plan_hash, settled_before
from rollout.policy.freeze import cuts
from rollout.policy.policy import Policy
from rollout.policy.prices import Prices
from rollout.policy.usage import Usage, max_usage
from rollout.spec.model import Sections, Spec, dump
from rollout.spec.problems import is_hidden, redact
from rollout.spec.rule_context import gives
from rollout.spec.steps import KINDS
from rollout.spec.stored import encode
from rollout.start_times import LogEntry, first_steps_of, past_start
from rollout.state import ModelState
from rollout.targets import plan_of

BAD_SHARE = 0.01
"""For which the times of a gate are given if nothing was measured."""
MOST_WINDOWS = 10
"""Freeze windows that are named."""


@dataclass(frozen=True)
class FieldValue:
    """A field of the merged spec that is not a default, or was none. `origin`: the event, or the
    release that it is inherited from.
    """

    path: str
    before: str
    value: str
    origin: str


@dataclass(frozen=True)
class RolloutPlan:
    """`base`: the release that the event inherits from. `problems`: why it would be refused, or
    rolled back at once; `notes`: what it has to wait for, or what else to know. `peak`, `lowest`
    and `seconds` are over all steps and the bake; `most`: what the policy counts for it. `seconds`
    leaves out approvals, and what the `untimed_gates` need beyond their minimum, because nobody
    knows the traffic. `policy`: what it answers; `preflight`: what was found of what the release
    refers to. `hash`: see `rollout/plan_hash.py`. `is_refused`: the intake would not accept
    it, so there is nothing else.
    """

    model: str
    version: str
    base: str = ""
    serving: str = ""
    strategy: str = ""
    capacity: str = ""
    spec: tuple[FieldValue, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[ResourceChange, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    bake_seconds: int = 0
    start_seconds: int = 0
    start_basis: str = ""
    seconds: int = 0
    untimed_gates: tuple[str, ...] = ()
    peak: Usage = field(default_factory=Usage)
    most: Usage = field(default_factory=Usage)
    lowest: int = 0
    currency: str = ""
    policy: str = ""
    preflight: str = ""
    hash: str = ""
    is_unchanged: bool = False
    is_refused: bool = False


@dataclass(frozen=True)
class Inputs:
    """What the forecast is made from: the state as the intake would save it, the release and the
    one that it inherits from, what Compute Engine answered, the model's log, and by gate what a
    source of metrics has of the stable release.
    """

    state: ModelState
    release: Release
    base: Release | None
    patch: Mapping[str, Any]
    policy: Policy
    prices: Prices
    snapshot: Snapshot
    answers: Answers
    log: tuple[LogEntry, ...]
    now: datetime
    before: Mapping[str, WindowAnswer] = field(default_factory=dict)


def rollout_plan(inputs: Inputs) -> RolloutPlan:
    state, release = inputs.state, inputs.release
    observed = observe(inputs.snapshot, state.desired.model)
    desired = replace(state.desired, release=release)
    settled = settled_before(state.rollout)
    begun = transitions.begin(settled, desired, inputs.now)
    choice = capacity.choose(settled, release, observed, room(release.spec, inputs.answers))
    rollout = replace(begun.rollout, capacity=choice.mode)
    whole = whole_plan(state.rollout, desired, release, inputs.policy, inputs.snapshot)
    known = (state.rollout.stable, state.rollout.previous, state.rollout.candidate)
    start = past_start(inputs.log, first_steps_of(known))
    traffic = traffic_of(inputs.before)
    basis = Basis(
        rollout, desired, observed, inputs.policy, inputs.prices, start, inputs.now, traffic
    )
    steps = tuple(planned_steps(basis)) if rollout.candidate else ()
    stable, spec = rollout.stable, release.spec
    bake = spec.rollout.bake_seconds if steps else 0
    seconds = sum(each.seconds for each in steps) + bake
    return RolloutPlan(
        model=desired.model,
        version=release.version,
        base=inputs.base.version if inputs.base else "",
        serving=stable.version if stable else "",
        strategy=spec.rollout.strategy,
        capacity=choice.mode or spec.rollout.capacity or "surge",
        spec=tuple(merged_fields(inputs)),
        problems=tuple(_problems(inputs, whole.plan, steps, rollout)),
        notes=(*notes_of(inputs, choice, seconds), *_notes_on_gates(inputs, basis, steps)),
        changes=resource_changes(whole.plan, whole.target, observed),
        steps=steps,
        bake_seconds=bake,
        start_seconds=start_seconds_of(basis) if steps else 0,
        start_basis="past rollouts" if start else "serving.startup_seconds",
        seconds=seconds,
        untimed_gates=tuple(each for each in _comparing(basis, steps) if each not in traffic),
        peak=peak_of(steps),
        most=max_usage(inputs.prices, [each.spec for each in (stable, release) if each]),
        lowest=min((each.lowest for each in steps), default=0),
        currency=inputs.prices.currency,
        policy=_policy_answer(inputs.policy),
        preflight=_preflight_answer(inputs),
        hash=plan_hash(settled, release, inputs.base, inputs.policy, kinds_of(whole.plan)),
        is_unchanged=not steps and whole.plan.is_empty,
    )


# ---- What stands in the way


def _policy_answer(policy: Policy) -> str:
    """A release that it does not allow has no plan."""
    set_fields = [
        each.name
        for each in fields(policy)
        if each.compare and each.name != "prices"
        if getattr(policy, each.name) != getattr(Policy(), each.name)
    ]
    return f"allows it ({', '.join(set_fields)})" if set_fields else "allows it: nothing is capped"


def _preflight_answer(inputs: Inputs) -> str:
    """What could not be read is no problem: Compute Engine itself decides then."""
    references = {*preflight.references(inputs.release.spec)}
    read = references & {*inputs.answers}
    found = sum(bool(inputs.answers[each].found) for each in read)
    unread = len(references) - len(read)
    suffix = f", {unread} could not be read" if unread else ""
    return f"{found} of {len(references)} resources that it refers to exist{suffix}"


def _problems(
    inputs: Inputs, resources: Plan, steps: tuple[PlannedStep, ...], begun: Rollout
) -> Iterator[str]:
    spec, model = inputs.release.spec, inputs.state.desired.model
    zones = preflight.zones_of(spec, inputs.snapshot, model)
    for problem in (*preflight.problems(spec, inputs.answers, zones), *resources.problems):
        yield problem.message
    if steps:
        yield from (each.message for each in _full_gateways(inputs, begun))
    for step in steps:
        if step.problem:
            yield f"step {step.number}: {step.problem}"


def _full_gateways(inputs: Inputs, begun: Rollout) -> Iterator[Problem]:
    """What other models have asked for and is not written yet does not count."""
    model, maps = inputs.state.desired.model, url_maps(inputs.snapshot)
    found = gateway_room.routes_of(begun, model, observe(inputs.snapshot, model))
    for key, routes in found.items():
        if key in maps and (problem := gateway_room.lacks_room(routes, maps[key], tuple)):
            yield problem


def notes_of(inputs: Inputs, choice: capacity.Choice, seconds: int) -> Iterator[str]:
    """What the rollout has to wait for, or what else to know."""
    state, release = inputs.state, inputs.release
    rollout = state.rollout
    if state.hold:
        yield f"the model is on hold: {state.hold.why}"
    if rollout.candidate and rollout.candidate.generation != release.generation:
        on_newer = rollout.candidate.spec.rollout.on_newer
        yield (
            f"release {rollout.candidate.version} is being rolled out"
            f" ({phase_name(rollout.phase)}), and its rollout.on_newer is {on_newer}; the forecast"
            " begins when it has ended"
        )
    if rollout.kept:
        yield (
            f"the {rollout.kept.colour} group of release {rollout.kept.release.version} is kept"
            f" until {rollout.kept.until:%Y-%m-%d %H:%M}Z, and makes way first"
        )
    if stop := inputs.policy.stop:
        yield f"Slipway is {stop.why}; the rollout begins when that ends"
    found, end = cuts(inputs.policy.freezes, inputs.now, timedelta(seconds=seconds))
    yield from map(str, found[:MOST_WINDOWS])
    if len(found) > MOST_WINDOWS:
        yield f"and {len(found) - MOST_WINDOWS} more freeze windows"
    if found:
        yield f"with these windows it would end at {end:%Y-%m-%d %H:%M}Z, if it were published now"
    if choice.lacks or choice.why:
        yield f"capacity: {choice.lacks or choice.why}"
    if release.not_inherited:
        yield f"{release.not_inherited} is not inherited: it does not fit the strategy"


def _notes_on_gates(inputs: Inputs, basis: Basis, steps: tuple[PlannedStep, ...]) -> Iterator[str]:
    """At which traffic each gate that compares takes how long."""
    for gate, step in _comparing(basis, steps).items():
        if traffic := basis.traffic.get(gate):
            yield (
                f"gate {gate}: its times are for the present traffic, {_display_traffic(traffic)}"
            )
        else:
            yield f"gate {gate}: {_times_by_traffic(basis, gate, step)}{_lack(inputs, gate)}"


def _comparing(basis: Basis, steps: tuple[PlannedStep, ...]) -> dict[str, PlannedStep]:
    """Each gate whose time depends on traffic, with the first step that it judges."""
    found: dict[str, PlannedStep] = {}
    for step in steps:
        for gate in step.gates:
            if compares(basis.rollout, gate):
                found.setdefault(gate, step)
    return found


def _display_traffic(traffic: GateTraffic) -> str:
    return f"{traffic.requests_per_second:.3g} requests/s with {traffic.bad_share:.2%} bad"


def _times_by_traffic(basis: Basis, gate: str, step: PlannedStep) -> str:
    share = share_of(basis.rollout, plan_of(basis.rollout)[2][step.number - 1])
    found = []
    for rate in (100, 10, 1):
        traffic = GateTraffic(rate, BAD_SHARE)
        seconds = seconds_to_pass(basis.rollout, gate, step.number - 1, share, traffic)
        found.append(f"{-(-seconds // 60)} min at {rate} requests/s")
    times = ", ".join(found)
    return f"its time depends on the traffic; with 1 % bad, step {step.number} takes {times}"


def _lack(inputs: Inputs, gate: str) -> str:
    """Why the present traffic is not known."""
    answer = inputs.before.get(gate)
    return f" ({answer.why})" if isinstance(answer, Unmeasured | Delayed) else ""


# ---- The merged spec


def merged_fields(inputs: Inputs) -> Iterator[FieldValue]:
    """The fields that the event gives, that differ from the release before, or that are inherited
    from it and are no default.
    """
    base = inputs.base
    after, before = _leaves(inputs.release.spec), _leaves(base.spec) if base else {}
    defaults = dict(_flatten(encode(Sections())))
    for path in sorted({*after, *before}):
        value, old = after.get(path), before.get(path)
        is_same = base is not None and value == old
        is_given = gives(inputs.patch, path)
        is_derived = any(f"{path}.".startswith(f"{e}.") for e in inputs.release.spec.defaulted)
        is_plain = is_derived or value == defaults.get(path)
        if not is_given and is_plain and (base is None or is_same):
            continue
        origin = "event" if is_given else "default"
        if base and is_same and not is_given:
            origin = f"release {base.version}"
        displayed = "" if base is None or is_same else _display(path, old)
        yield FieldValue(path, displayed, _display(path, value), origin)


def _display(path: str, value: object) -> str:
    """For people: a digest by its beginning, and no environment variable."""
    if value is None:
        return "-"
    if path == "rollout.gates" and isinstance(value, dict):
        return ", ".join(value) or "none"
    if path == "rollout.steps" and isinstance(value, list):
        return ", ".join(_goal(each) for each in value)
    if isinstance(value, str) and (path == "artifact.image" or not is_hidden(path, value)):
        return re.sub(r"(@sha256:[0-9a-f]{12})[0-9a-f]+", r"\1", value)
    return redact(path, value)


def _goal(step: Mapping[str, Any]) -> str:
    """A step by what tells its kind apart, and its hold: `percent 10 for 60 s`."""
    kind = next(each for each in KINDS if step.get(each) is not None)
    value, hold = step[kind], f" for {step['hold_seconds']} s" if kind != "approve" else ""
    is_share = isinstance(value, int | float) and value is not True
    return f"{kind} {value:g}{hold}" if is_share else f"{kind}{hold}"


def _leaves(spec: Spec) -> dict[str, Any]:
    document = dump(spec)
    del document["defaulted"]
    return dict(_flatten(document))


def _flatten(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        where = f"{path}.{name}" if path else name
        if isinstance(each, dict) and each and where != "rollout.gates":
            yield from _flatten(each, where)
        else:
            yield where, each
