"""The port for evaluation jobs: what they say of a candidate.

Implemented by `infra/verdicts/https.py`; called by `handlers/reconcile/measure.py`. Invariants: an
implementation answers within `TIMEOUT_SECONDS`, and raises nothing because of what a job does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from rollout.measurements import NoVerdict, VerdictAnswer, VerdictRequest

TIMEOUT_SECONDS = 5.0


class Verdicts(Protocol):
    def ask(self, request: VerdictRequest, hosts: tuple[str, ...], now: datetime) -> VerdictAnswer:
        """The job's verdict. `hosts`: where the policy allows jobs to be."""
        ...


class NoSecret:
    """Asks no job: without a secret nobody could tell a job's answer from another one."""

    def ask(self, request: VerdictRequest, hosts: tuple[str, ...], now: datetime) -> VerdictAnswer:
        return NoVerdict("no-secret", "SLIPWAY_GATE_SECRET is not set for the reconciler")
