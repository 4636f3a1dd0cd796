"""Runs the data plane: traffic on an event loop in its own thread, and a watcher that follows
the cloud.

    watcher:      lock -> topology_of(cloud) -> unlock -> loop: open and close ports
                  -> balancer.topology = topology
    periodically: busy workers and requests since the last time -> cloud.measured -> autoscalers

The loop never takes the cloud's lock, so a long API call never delays traffic.
`Cloud.data_plane` is the running one.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from types import TracebackType
from typing import Any, TypeVar

from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key
from compute_emulator.traffic.balancer import Balancer
from compute_emulator.traffic.instance_app import App
from compute_emulator.traffic.listener import Listener
from compute_emulator.traffic.metrics import Metrics
from compute_emulator.traffic.topology import Topology, topology_of
from compute_emulator.traffic.upstream import Upstream

Result = TypeVar("Result")
LOG = logging.getLogger("compute_emulator")
REFRESH_SECONDS = 0.05
CLOUD_WINDOW, SHORTEST_WINDOW, LONGEST_WINDOW = 60.0, 1.0, 10.0
"""Utilisation is a mean over a minute of cloud time, within these bounds in real seconds."""


class DataPlane:
    """Serves a cloud's traffic between `start` and `stop`. A context manager. The system assigns
    the ports.
    """

    def __init__(self, cloud: Cloud, host: str = "127.0.0.1", seed: int = 0) -> None:
        self.cloud, self.host = cloud, host
        self.metrics = Metrics()
        self._chance = Random(seed)
        self._balancer = Balancer(self.metrics, self._chance)
        self._listeners: dict[Key, Listener] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._applied_number, self._apply_lock = 0, asyncio.Lock()
        self._threads: list[threading.Thread] = []
        self._measured_at = time.monotonic()

    def start(self) -> DataPlane:
        if self.cloud.data_plane is not None:
            raise RuntimeError("the cloud already has a data plane")
        self.cloud.data_plane = self
        self._begin(self._serve)
        self.refresh()
        self._begin(self._watch)
        return self

    def stop(self) -> None:
        self._stopping.set()
        with self.cloud.lock:
            self.cloud.changed.notify_all()
            self.cloud.data_plane = None
            self.cloud.measured.clear()
        self._threads[1].join(timeout=5)
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._threads[0].join(timeout=5)
        self._loop.close()

    def __enter__(self) -> DataPlane:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def refresh(self) -> None:
        """Apply the cloud's current state, and return when it is applied. The watcher calls this
        periodically.

        It takes only the cloud's lock: a control that calls this holds that lock, so the watcher
        must not hold another one that this call waits for.
        """
        with self.cloud.lock:
            self.cloud.advance()
            number, topology = next(self._numbers), topology_of(self.cloud)
        self._on_loop(self._apply_in_order(number, topology))

    def url_of(self, rule: Key) -> str | None:
        """The URL at which a forwarding rule is served; None if it is not."""
        listener = self._listeners.get(rule)
        return (
            str(listener.state(_client_address(self.host))["url"])
            if listener is not None and listener.port
            else None
        )

    def measure(self) -> None:
        """Report to the autoscalers what the groups did since the last time: mean share of busy
        workers, requests/s.
        """
        now = time.monotonic()
        passed, self._measured_at = max(now - self._measured_at, 1e-6), now
        measured = self._on_loop(self._sample(passed))
        with self.cloud.lock:
            self.cloud.measured.clear()
            self.cloud.measured.update(measured)
            self.cloud.load.notify()

    def state(self) -> JsonObject:
        """What is served where, for `/control/data-plane`."""
        return self._on_loop(self._state())

    # Threads

    def _begin(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True, name=f"traffic{run.__name__}")
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _watch(self) -> None:
        speed = self.cloud.clock.speed or 1.0
        window = min(LONGEST_WINDOW, max(SHORTEST_WINDOW, CLOUD_WINDOW / speed))
        while not self._stopping.wait(REFRESH_SECONDS):
            try:
                self.refresh()
                if time.monotonic() - self._measured_at >= window:
                    self.measure()
            except Exception:  # one failure must not end the traffic
                LOG.exception("the data plane failed to follow the cloud")

    def _on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    # On the event loop

    async def _apply_in_order(self, number: int, topology: Topology) -> None:
        """Apply topologies one at a time; an older one never replaces a newer one."""
        async with self._apply_lock:
            if number > self._applied_number:
                await self._apply(topology)
                self._applied_number = number

    async def _apply(self, topology: Topology) -> None:
        """New ports first, then the new topology, then close the old ports: no request goes to a
        closed port.
        """
        apps, upstreams = self._balancer.apps, self._balancer.upstreams
        for key, vm in topology.vms.items():
            if key not in apps:
                apps[key] = App(vm, self.cloud.clock, self._chance)
                await apps[key].start(self.host)
                upstreams[key] = Upstream(self.host, apps[key].port)
            apps[key].configure(vm)
        rules = {rule.key: rule for rule in topology.rules}
        for name, rule in rules.items():
            listener = self._listeners.get(name)
            if listener is None or listener.rule.is_https != rule.is_https:
                if listener is not None:
                    listener.stop()
                listener = self._listeners[name] = Listener(rule, self._balancer)
                await listener.start(self.host)
            listener.configure(rule)
        self._balancer.topology = topology
        for gone in apps.keys() - topology.vms.keys():
            if gone in topology.unrouted and apps[gone].in_flight:
                continue
            apps.pop(gone).stop()
            upstreams.pop(gone).close()
        for left in self._listeners.keys() - rules.keys():
            self._listeners.pop(left).stop()

    async def _sample(self, passed: float) -> dict[str, JsonObject]:
        """The load of every served group, by `region/group`."""
        topology, sent = self._balancer.topology, Counter(self._balancer.sent)
        self._balancer.sent.clear()
        shares = {key: app.busy_share() for key, app in self._balancer.apps.items()}
        by_group: dict[str, dict[tuple[int, float], float]] = {}
        for service in topology.services.values():
            for backend in service.backends:
                by_group.setdefault(backend.group, {})[backend.vm.key] = shares.get(
                    backend.vm.key, 0.0
                )
        return {
            group: {"cpu": sum(each.values()) / len(each), "rps": sent[group] / passed}
            for group, each in by_group.items()
            if each
        }

    async def _state(self) -> JsonObject:
        apps = self._balancer.apps
        services = {
            self.cloud.path(key): [
                {
                    **backend.vm.names,
                    "url": f"http://{_client_address(self.host)}:{apps[backend.vm.key].port}",
                    "healthy": backend.is_healthy,
                    "takes_requests": backend.can_take,
                    "weight": backend.weight,
                    "in_flight": apps[backend.vm.key].in_flight,
                    "requests": apps[backend.vm.key].requests,
                }
                for backend in service.backends
                if backend.vm.key in apps
            ]
            for key, service in sorted(self._balancer.topology.services.items())
        }
        host = _client_address(self.host)
        rules = {
            self.cloud.path(key): self._listeners[key].state(host)
            for key in sorted(self._listeners)
        }
        unsupported = {
            self.cloud.path(key): service.unsupported
            for key, service in sorted(self._balancer.topology.services.items())
            if service.unsupported
        }
        return {
            "on": True,
            "forwarding_rules": rules,
            "backend_services": services,
            "unsupported": unsupported,
            "measured": dict(self.cloud.measured),
        }

    async def _close(self) -> None:
        for listener in self._listeners.values():
            listener.stop()
        for app in self._balancer.apps.values():
            app.stop()
        for upstream in self._balancer.upstreams.values():
            upstream.close()
        self._listeners.clear()
        pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def _client_address(host: str) -> str:
    """The address that a client can connect to."""
    return "127.0.0.1" if host in ("0.0.0.0", "") else host
