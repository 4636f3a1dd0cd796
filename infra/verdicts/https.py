"""Asks an evaluation job for its verdict: a signed POST, answered by a signed verdict in JSON.

Called by `handlers/reconcile/measure.py` through the port. The job answers 200 with
`{"verdict": "pass" | "fail" | "inconclusive", "why": "…"}` and the three headers of Standard
Webhooks, with the query's `webhook-id`. So nobody on the way can forge a verdict, or answer with an
old one. Invariant: anything else is `NoVerdict` of its own kind, and never an exception.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import assert_never

from infra.outbound import NoReply, Outbound, Reply
from infra.verdicts.port import TIMEOUT_SECONDS
from infra.verdicts.signing import Secrets
from rollout.measurements import ExternalVerdict, NoVerdict, VerdictAnswer, VerdictRequest
from rollout.policy.gate_hosts import unlisted_host
from rollout.spec.problems import Invalid
from rollout.spec.strict_json import read_json
from rollout.visible import one_line

MAX_BYTES = 64 * 1024
MAX_WHY = 300


class HttpsVerdicts:
    """`outbound`: how requests leave; tests pass one that reaches servers on this machine."""

    def __init__(self, secrets: Secrets, outbound: Outbound | None = None) -> None:
        self._secrets = secrets
        self._outbound = outbound or Outbound(TIMEOUT_SECONDS, MAX_BYTES)

    def ask(self, request: VerdictRequest, hosts: tuple[str, ...], now: datetime) -> VerdictAnswer:
        if why := unlisted_host(request.url, hosts):
            return NoVerdict("not-allowed", why)
        body = body_of(request)
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "slipway",
            **self._secrets.sign(request.key, now, body),
        }
        reply = self._outbound.post(request.url, body, headers)
        match reply:
            case NoReply(kind, why):
                return NoVerdict(kind, why)
            case Reply():
                return self._verdict(request, reply, now)
            case _:
                assert_never(reply)

    def _verdict(self, request: VerdictRequest, reply: Reply, now: datetime) -> VerdictAnswer:
        if 300 <= reply.status < 400:
            why = f"the job answered {reply.status}; name the URL that it redirects to"
            return NoVerdict("redirect", why)
        if reply.status != 200:
            return NoVerdict("http", f"the job answered {reply.status}")
        if why := self._secrets.problem_of(reply.headers, request.key, reply.body, now):
            return NoVerdict("invalid-signature", why)
        return read_verdict(reply.body, request.until)


def body_of(request: VerdictRequest) -> bytes:
    document = {
        "id": request.key,
        "gate": request.gate,
        "model": request.model,
        "version": request.version,
        "generation": request.generation,
        "baseline": request.baseline or None,
        "phase": request.phase,
        "weight": int(request.weight) if request.weight.is_integer() else request.weight,
        "since": _time(request.since),
        "until": _time(request.until),
    }
    return json.dumps(document).encode()


def read_verdict(body: bytes, until: datetime) -> VerdictAnswer:
    """The verdict in a job's answer; further fields are ignored. `until`: see `ExternalVerdict`."""
    try:
        document = read_json(body)
    except (Invalid, RecursionError):
        return NoVerdict("unreadable", "the job did not answer with JSON")
    match document:
        case {
            "verdict": ("pass" | "fail" | "inconclusive") as verdict,
            "why": str(why),
        } if why.strip():
            return ExternalVerdict(verdict, one_line(why, MAX_WHY), until)
        case {"verdict": "pass" | "fail" | "inconclusive"}:
            return NoVerdict("unreadable", "why must be a sentence")
        case _:
            return NoVerdict("unreadable", "verdict must be pass, fail or inconclusive")


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
