"""One request through a load balancer: URL map, backend service, VM, and the response if there
is none.

    no eligible VM       503 no healthy upstream        (classic: 502)
    connection refused   503 upstream connect error     (classic: 502)
    connection cut       502 upstream connect error     (classic: 502)
    too many requests    503 reset reason: overflow     (circuit breakers)
    timeout              504 upstream request timeout   (classic: 502)

A stream whose head has been passed on ends with its connection instead: when it breaks, and at the
timeout, which limits the whole response. The timeout of a single attempt only limits the time to
its head.

Classic is the load balancing scheme EXTERNAL. Source: load-balancing/docs, logging of
Application Load Balancers, proxyStatus and statusDetails. Runs on the data plane's event loop,
like the rest of this package.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key, parse
from compute_emulator.traffic import cors, unsupported
from compute_emulator.traffic.affinity import Session, response_cookie, session_of
from compute_emulator.traffic.headers import (
    error_response,
    expand_variables,
    redirect_response,
    with_request_headers,
    with_response_headers,
)
from compute_emulator.traffic.http import Request, Response
from compute_emulator.traffic.instance_app import App
from compute_emulator.traffic.instance_choice import (
    InstanceChooser,
    choose_by_weight,
    retry_policy,
    seconds,
    should_retry,
)
from compute_emulator.traffic.metrics import Labels, Metrics
from compute_emulator.traffic.routing import Destination, apply_rewrite, route
from compute_emulator.traffic.topology import Backend, Rule, Service, Topology
from compute_emulator.traffic.upstream import Broken, Upstream

NO_BACKEND = ("", "", "")
OVERFLOW = "upstream connect error or disconnect/reset before headers. reset reason: overflow"
NO_WEBSOCKETS = "the emulator's data plane does not support WebSocket upgrades"


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """A request on its way to one of a service's VMs."""

    service: Service
    request: Request
    policy: JsonObject = field(default_factory=dict)
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: the response, its backend, and how it failed, if it did (`connect`, `reset`,
    `timeout`, `nobody`, `overflow`).
    """

    response: Response
    backend: Backend | None = None
    failure: str = ""


class Balancer:
    """`apps` and `upstreams` belong to the VMs of the `topology`; `data_plane.py` keeps them in
    step.
    """

    def __init__(self, metrics: Metrics, chance: Random) -> None:
        self.topology = Topology()
        self.apps: dict[tuple[int, float], App] = {}
        self.upstreams: dict[tuple[int, float], Upstream] = {}
        self.sent: Counter[str] = Counter()
        self._requests: Counter[Key] = Counter()
        self._retries: Counter[Key] = Counter()
        self._metrics, self._chance = metrics, chance
        self._choosers: dict[Key, InstanceChooser] = {}
        self._mirrors: set[asyncio.Task[None]] = set()

    async def handle(self, rule: Rule, request: Request, client: str) -> Response:
        began = time.monotonic()
        if request.headers.get("upgrade", "").lower() == "websocket":
            return error_response(501, NO_WEBSOCKETS, is_classic=False)
        host = request.headers.get("host", "")
        destination = route(rule.url_map, host, request.target, request.headers, request.method)
        if destination.redirect is not None:
            return redirect_response(
                destination.redirect, destination.matched, host, request.target, rule.is_https
            )
        service, headers = self._service(destination)
        if service is None:
            return error_response(404, "no backend service for this request", is_classic=False)
        mirror = destination.action.get("requestMirrorPolicy") or {}
        why = self._unsupported(service, mirror) or unsupported.in_action(destination.action)
        if why:
            self._metrics.record_response(
                (service.key.name, *NO_BACKEND), 501, time.monotonic() - began
            )
            return error_response(501, why, is_classic=False)
        actions = (*headers, *destination.header_actions)
        cors_policy = destination.action.get("corsPolicy") or {}
        preflight = cors.preflight_response(cors_policy, request) if cors_policy else None
        if preflight is not None:
            return preflight
        injected = await self._inject(destination.action.get("faultInjectionPolicy") or {})
        if injected is not None:
            self._metrics.record_response(
                (service.key.name, *NO_BACKEND), injected.status, time.monotonic() - began
            )
            return injected
        custom, answered = (
            expand_variables(service.resource.get(name) or (), request, client, rule.is_https)
            for name in ("customRequestHeaders", "customResponseHeaders")
        )
        onward = with_request_headers(request, actions, client, rule.is_https, custom)
        onward.target, onward.headers["host"] = apply_rewrite(destination, request.target, host)
        self._mirror(mirror, onward)
        # A split by weights takes precedence over affinity: the next request may belong to another
        # service.
        session = (
            session_of(service, request, client, self._chance)
            if len(destination.weights) == 1
            else None
        )
        policy = retry_policy(destination.action, service, bool(request.body))
        last = await self._send(
            ProxiedRequest(service, onward, policy, session), destination.action
        )
        why = unsupported.in_error(destination.error_policies, last.response.status)
        if why and last.backend is not None:
            if last.response.stream is not None:
                last.response.stream.end()
            last = Attempt(error_response(501, why, is_classic=False), last.backend)
        self._record(_labels(service, last.backend), last.response, began)
        response = with_response_headers(last.response, actions, answered)
        if cors_policy:
            response.headers |= cors.response_headers(cors_policy, request)
        cookie = (
            response_cookie(session, last.backend)
            if session is not None and last.backend is not None
            else ""
        )
        return (
            replace(response, headers=response.headers | {"set-cookie": cookie})
            if cookie
            else response
        )

    def _record(self, labels: Labels, response: Response, began: float) -> None:
        """Count a response: a streamed one when it has ended."""

        def record() -> None:
            self._metrics.record_response(labels, response.status, time.monotonic() - began)

        if response.stream is not None:
            response.stream.on_end.append(record)
        else:
            record()

    def _service(self, destination: Destination) -> tuple[Service | None, tuple[JsonObject, ...]]:
        if not destination.weights:
            return None, ()
        index = choose_by_weight(destination.weights, self._chance)
        key = parse(destination.weights[index][0])
        headers = destination.service_headers[index : index + 1]
        return (self.topology.services.get(key) if key is not None else None), headers

    def _unsupported(self, service: Service, mirror: JsonObject) -> str:
        key = parse(mirror.get("backendService") or "")
        second = self.topology.services.get(key) if key is not None else None
        return service.unsupported or (second.unsupported if second is not None else "")

    async def _inject(self, policy: JsonObject) -> Response | None:
        """Injected delays and aborts."""
        delay, abort = policy.get("delay") or {}, policy.get("abort") or {}
        if delay and self._chance.uniform(0, 100) < delay.get("percentage", 0):
            await asyncio.sleep(seconds(delay.get("fixedDelay"), 0.0))
        if abort and self._chance.uniform(0, 100) < abort.get("percentage", 0):
            return error_response(
                int(abort.get("httpStatus", 503)), "fault filter abort", is_classic=False
            )
        return None

    async def _send(self, proxied: ProxiedRequest, action: JsonObject) -> Attempt:
        """Send, and retry as the retry policy says, all within the timeout."""
        service, policy = proxied.service, proxied.policy
        deadline = time.monotonic() + seconds(action.get("timeout"), service.timeout_seconds)
        left = int(policy.get("numRetries", 0))
        last = await self._try(proxied, deadline, None)
        while left > 0 and last.backend is not None and time.monotonic() < deadline:
            breakers = service.resource.get("circuitBreakers") or {}
            if not should_retry(policy, last.response.status, last.failure) or (
                breakers and self._retries[service.key] >= breakers.get("maxRetries", 1)
            ):
                break
            left -= 1
            if last.response.stream is not None:
                last.response.stream.end()
            self._metrics.record_retry(_labels(service, last.backend))
            self._retries[service.key] += 1
            try:
                last = await self._try(proxied, deadline, last.backend)
            finally:
                self._retries[service.key] -= 1
        return last

    async def _try(
        self, proxied: ProxiedRequest, deadline: float, previous: Backend | None
    ) -> Attempt:
        """One attempt, unless the service already has as many requests as it may have. A stream
        counts until it has ended.
        """
        key = proxied.service.key
        most = (proxied.service.resource.get("circuitBreakers") or {}).get("maxRequests")
        if most and self._requests[key] >= most:
            return Attempt(
                error_response(503, OVERFLOW, proxied.service.is_classic), None, "overflow"
            )
        self._requests[key] += 1
        is_streaming = False
        try:
            attempt = await self._attempt(proxied, deadline, previous)
            if attempt.response.stream is not None:
                is_streaming = True
                attempt.response.stream.on_end.append(lambda: self._requests.subtract((key,)))
            return attempt
        finally:
            if not is_streaming:
                self._requests[key] -= 1

    async def _attempt(
        self, proxied: ProxiedRequest, deadline: float, previous: Backend | None
    ) -> Attempt:
        service, policy, now = proxied.service, proxied.policy, time.monotonic()
        chooser = self._choosers.get(service.key)
        if chooser is None:
            chooser = self._choosers[service.key] = InstanceChooser(self._chance)
        # Use the latest topology, also for a request that was delayed or is retried.
        backend = chooser.choose(
            self.topology.services.get(service.key, service),
            self._load,
            now,
            previous,
            proxied.session,
        )
        upstream = self.upstreams.get(backend.vm.key) if backend is not None else None
        if backend is None or upstream is None:
            return Attempt(
                error_response(503, "no healthy upstream", service.is_classic), None, "nobody"
            )
        self.sent[backend.group] += 1
        limit = max(0.0, deadline - now)
        if policy.get("perTryTimeout"):
            limit = min(limit, seconds(policy["perTryTimeout"], limit))
        try:
            return Attempt(
                await upstream.send(proxied.request, limit, max(0.0, deadline - now)), backend
            )
        except TimeoutError:
            return Attempt(
                error_response(504, "upstream request timeout", service.is_classic),
                backend,
                "timeout",
            )
        except Broken as broken:
            return _upstream_error(broken, service, backend)

    def _load(self, backend: Backend) -> int:
        upstream = self.upstreams.get(backend.vm.key)
        return upstream.in_flight if upstream is not None else 0

    def _mirror(self, policy: JsonObject, request: Request) -> None:
        """Send a copy whose response is discarded. `-shadow` is appended to its host, so that a
        server can tell.
        """
        key = parse(policy.get("backendService") or "")
        service = self.topology.services.get(key) if key is not None else None
        if service is None or self._chance.uniform(0, 100) >= float(
            policy.get("mirrorPercent", 100)
        ):
            return
        copied = Request(request.method, request.target, dict(request.headers), request.body)
        copied.headers["host"] = f"{copied.headers.get('host', '')}-shadow"
        task = asyncio.get_running_loop().create_task(self._shadow(service, copied))
        self._mirrors.add(task)
        task.add_done_callback(self._mirrors.discard)

    async def _shadow(self, service: Service, request: Request) -> None:
        last = await self._try(
            ProxiedRequest(service, request), time.monotonic() + service.timeout_seconds, None
        )
        self._metrics.mirror(_labels(service, last.backend))
        if last.response.stream is not None:
            with suppress(Broken, TimeoutError):
                while await last.response.stream.next():
                    pass


def _upstream_error(broken: Broken, service: Service, backend: Backend) -> Attempt:
    is_refused = "refused" in str(broken)
    text = f"upstream connect error or disconnect/reset before headers ({broken})"
    return Attempt(
        error_response(503 if is_refused else 502, text, service.is_classic),
        backend,
        "connect" if is_refused else "reset",
    )


def _labels(service: Service, backend: Backend | None) -> Labels:
    if backend is None:
        return (service.key.name, *NO_BACKEND)
    names = backend.vm.names
    return service.key.name, names["group"], names["template"], names["version"]
