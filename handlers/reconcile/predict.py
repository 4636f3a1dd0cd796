"""Predicts a rollout when it begins: by the code of `slipway plan`, for people to compare with what
becomes of it.

Called by `handlers/reconcile/loop.py` before the decision that begins a rollout is saved. Without a
prediction the rollout goes on all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from handlers.reconcile.decide import PassDecision
from infra.settings import load_project_prices
from infra.wiring import World
from rollout.course import Prediction
from rollout.measurements import WindowAnswer
from rollout.model import Observed
from rollout.policy.policy import Policy
from rollout.state import ModelState

log = logging.getLogger("slipway")


def with_prediction(
    world: World,
    before: ModelState,
    decision: PassDecision,
    observed: Observed,
    policy: Policy,
    answers: Mapping[str, WindowAnswer],
) -> PassDecision:
    """The decision with what is predicted of the rollout that it begins, if it begins one.
    `answers`: what the pass has read about the stable release for the gates.
    """
    course = decision.state.course
    known = before.course.generation if before.course else None
    if course is None or course.generation == known:
        return decision
    try:
        found = _predict(world, decision.state, observed, policy, answers)
    except Exception as error:  # whatever it is, it must not keep a rollout from its beginning
        fields = {"model": before.desired.model, "why": repr(error)}
        log.warning("no prediction of the rollout", extra={"fields": fields})
        return decision
    course = replace(course, predicted=found)
    return replace(decision, state=replace(decision.state, course=course))


def _predict(
    world: World,
    state: ModelState,
    observed: Observed,
    policy: Policy,
    answers: Mapping[str, WindowAnswer],
) -> Prediction:
    # Imported late: only the beginning of a rollout needs it.
    from handlers.past_rollouts import recent_log
    from infra.fleet.forecast_steps import Basis, prediction_of
    from rollout.gate_times import traffic_of
    from rollout.start_times import first_steps_of, past_start

    rollout, prices = state.rollout, load_project_prices(world.store)
    known = (rollout.stable, rollout.previous, rollout.candidate)
    start = past_start(recent_log(world.store, state), first_steps_of(known))
    now, traffic = world.clock.now(), traffic_of(answers)
    basis = Basis(rollout, state.desired, observed, policy, prices, start, now, traffic)
    return prediction_of(basis)
