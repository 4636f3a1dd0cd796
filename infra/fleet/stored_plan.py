"""The plan of a release that was accepted and has not begun, from documents alone. Pure.

Called by the dashboard, whose identity reads documents and nothing else. The steps are those of
`forecast.rollout_plan`. It lacks what Compute Engine alone knows: the resources that change, what
they would be refused for, and whether there is room.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from infra.fleet.forecast import Inputs, RolloutPlan, merged_fields, notes_of
from infra.fleet.forecast_steps import Basis, peak_of, planned_steps, start_seconds_of
from infra.fleet.model import Snapshot
from rollout import transitions
from rollout.capacity import Choice
from rollout.model import GroupView, Instance, Observed, Release
from rollout.plan_hash import settled_before
from rollout.policy.policy import Policy
from rollout.policy.prices import Prices
from rollout.start_times import LogEntry, first_steps_of, past_start
from rollout.state import ModelState

__all__ = ["RolloutPlan", "stored_plan"]


def stored_plan(
    state: ModelState,
    release: Release,
    policy: Policy,
    prices: Prices,
    log: tuple[LogEntry, ...],
    now: datetime,
) -> RolloutPlan:
    """`spec` has the fields that differ from what serves. Sizes are those counted last."""
    settled = settled_before(state.rollout)
    stable, desired = settled.stable, replace(state.desired, release=release)
    rollout = transitions.begin(settled, desired, now).rollout
    start = past_start(log, first_steps_of((stable, settled.previous)))
    basis = Basis(rollout, desired, _observed(state), policy, prices, start, now)
    steps = tuple(planned_steps(basis)) if rollout.candidate else ()
    inputs = Inputs(state, release, stable, {}, policy, prices, Snapshot({}), {}, log, now)
    bake = release.spec.rollout.bake_seconds if steps else 0
    seconds = sum(each.seconds for each in steps) + bake
    return RolloutPlan(
        model=desired.model,
        version=release.version,
        base=stable.version if stable else "",
        serving=stable.version if stable else "",
        strategy=release.spec.rollout.strategy,
        capacity=release.spec.rollout.capacity or "surge",
        spec=tuple(each for each in merged_fields(inputs) if each.before),
        notes=tuple(notes_of(inputs, Choice(), seconds)),
        steps=steps,
        bake_seconds=bake,
        start_seconds=start_seconds_of(basis) if steps else 0,
        start_basis="past rollouts" if start else "serving.startup_seconds",
        seconds=seconds,
        peak=peak_of(steps),
        lowest=min((each.lowest for each in steps), default=0),
        currency=prices.currency,
        is_unchanged=not steps,
    )


def _observed(state: ModelState) -> Observed:
    """A group of the stable release, spread over its zones, as it was counted."""
    stable, colour = state.rollout.stable, state.rollout.serving_group
    counts = state.counts.releases if state.counts else ()
    counted = next((each for each in counts if stable and each.release == stable.version), None)
    if stable is None or colour is None or counted is None:
        return Observed()
    zones = stable.spec.placement.zone_count
    instances = tuple(
        Instance(
            name=f"counted-{number}",
            zone=str(number % zones),
            template=stable.template,
            action="NONE",
            status="RUNNING",
            health="healthy" if number < counted.healthy else "unhealthy",
        )
        for number in range(counted.all)
    )
    region = stable.spec.placement.region
    return Observed((GroupView(colour, region, counted.all, True, instances),))
