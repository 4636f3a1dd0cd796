"""Asks evaluation jobs what they say of the candidate.

Called by `handlers/reconcile/measure.py`, for gates with a `url`. All are asked at once, so that
together they take no longer than one. Invariant: no answer of a job ends a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from infra.wiring import World
from rollout.measurements import NoVerdict, VerdictAnswer, VerdictRequest

NO_SECRET = NoVerdict("no-secret", "no secret for gates with a url is configured")


def ask_jobs(
    world: World, requests: Sequence[VerdictRequest], hosts: tuple[str, ...], now: datetime
) -> dict[str, VerdictAnswer]:
    """The answers by gate. `hosts`: the policy's `gate_hosts`."""
    if not requests:
        return {}
    verdicts = world.verdicts
    if verdicts is None:
        return {each.gate: NO_SECRET for each in requests}
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = pool.map(lambda each: verdicts.ask(each, hosts, now), requests)
        return {each.gate: answer for each, answer in zip(requests, answers, strict=True)}
