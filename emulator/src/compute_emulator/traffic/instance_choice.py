"""Which VM gets the next request, and which requests are retried. Pure apart from the state of
an `InstanceChooser`.

A request of a session goes to the session's VM (`affinity.py`). Other requests use round robin
over the healthy VMs, weighted if weights differ; `LEAST_REQUEST` takes the less busy of the next
two, `RANDOM` any. If a service's backends form tiers, only those of the current tier are
eligible (`backend_capacity.py`). Source: Compute API reference,
backendServices.localityLbPolicy, urlMaps.retryPolicy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from compute_emulator.errors import JsonObject
from compute_emulator.traffic.affinity import Session, backend_of
from compute_emulator.traffic.backend_capacity import BackendFill
from compute_emulator.traffic.topology import Backend, Service

GATEWAY_ERRORS = (502, 503, 504)
DEFAULT_RETRY: JsonObject = {"retryConditions": ["gateway-error"], "numRetries": 1}
Load = Callable[[Backend], int]


class InstanceChooser:
    """Chooses the VMs of one backend service. Its state outlives the topologies."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._cursor = 0
        self._credit: dict[tuple[int, float], float] = {}
        self._fill = BackendFill()

    def choose(
        self,
        service: Service,
        load: Load,
        now: float,
        excluded: Backend | None = None,
        session: Session | None = None,
    ) -> Backend | None:
        """None if there is no eligible VM. Avoids `excluded` if there is another VM."""
        if len(service.tiers) < 2:
            return self._choose_among(service.backends, service.policy, load, excluded, session)
        backend = self._choose_among(
            self._fill.candidates(service, load, now), service.policy, load, excluded, session
        )
        if backend is not None:
            self._fill.record_sent(backend)
        return backend

    def _choose_among(
        self,
        backends: Sequence[Backend],
        policy: str,
        load: Load,
        excluded: Backend | None,
        session: Session | None,
    ) -> Backend | None:
        if not backends:
            return None
        if (
            session is not None
            and (found := backend_of(session, _eligible(backends, excluded))) is not None
        ):
            return found
        if any(each.weight != backends[0].weight for each in backends):
            return self._by_weight(backends, excluded)
        if policy == "RANDOM":
            self._cursor = self._chance.randrange(len(backends))
        first = self._next(backends, excluded)
        if first is not None and policy == "LEAST_REQUEST":
            second = self._next(backends, excluded)
            return second if second is not None and load(second) < load(first) else first
        return first

    def _next(self, backends: Sequence[Backend], excluded: Backend | None) -> Backend | None:
        fallback, count = None, len(backends)
        for step in range(count):
            backend = backends[(self._cursor + step) % count]
            if not backend.can_take:
                continue
            if excluded is not None and backend.vm.key == excluded.vm.key:
                fallback = backend
                continue
            self._cursor = (self._cursor + step + 1) % count
            return backend
        return fallback

    def _by_weight(self, backends: Sequence[Backend], excluded: Backend | None) -> Backend | None:
        """Smooth weighted round robin: each VM earns its weight per turn; the one with the most
        credit is chosen and pays the sum.
        """
        able = _eligible(backends, excluded)
        if not able:
            return None
        self._credit = {
            each.vm.key: self._credit.get(each.vm.key, 0.0) + each.weight for each in able
        }
        best = max(able, key=lambda each: self._credit[each.vm.key])
        self._credit[best.vm.key] -= sum(each.weight for each in able)
        return best


def _eligible(backends: Sequence[Backend], excluded: Backend | None) -> list[Backend]:
    """The VMs that take requests, without `excluded` if there are others."""
    able = [each for each in backends if each.can_take]
    others = [each for each in able if excluded is None or each.vm.key != excluded.vm.key]
    return others or able


def choose_by_weight(weights: tuple[tuple[str, int], ...], chance: Random) -> int:
    """The index of the backend service a request goes to."""
    if len(weights) == 1:
        return 0
    point = chance.uniform(0, sum(weight for _, weight in weights))
    for index, (_, weight) in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    return max(range(len(weights)), key=lambda index: weights[index][1])


def should_retry(policy: JsonObject, status: int, failure: str) -> bool:
    """Whether to retry a failed attempt. `failure` is empty, `connect`, `reset` or `timeout`."""
    conditions = policy.get("retryConditions") or []
    if "5xx" in conditions and (status >= 500 or failure):
        return True
    if "gateway-error" in conditions and status in GATEWAY_ERRORS:
        return True
    return ("connect-failure" in conditions and failure == "connect") or (
        "retriable-4xx" in conditions and status == 409
    )


def retry_policy(action: JsonObject, service: Service, has_body: bool) -> JsonObject:
    """The URL map's policy; by default, requests without a body are retried once on 502, 503 and
    504.
    """
    given: JsonObject | None = action.get("retryPolicy")
    if given is not None:
        return {"numRetries": 1} | given
    return {} if service.is_classic or has_body else DEFAULT_RETRY


def seconds(duration: JsonObject | None, default: float) -> float:
    """A `Duration` of the API."""
    if not duration:
        return default
    return float(duration.get("seconds", 0)) + float(duration.get("nanos", 0)) / 1e9
