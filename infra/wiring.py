"""Creates the World from the environment: clock, Compute Engine, store, bus. Nothing else reads
`os.environ` or the system clock.

Called by `main.py`, lazily and once per instance. Tests and the local stack create a World
themselves. Nothing is imported before it is needed: the intake never imports the Compute client,
and SQLite is imported only in the embedded setup.

Environment: `GOOGLE_CLOUD_PROJECT` · `SLIPWAY_STORE` (`firestore`, or `sqlite:PATH`) ·
`SLIPWAY_DATABASE` (Firestore's; empty: `slipway`) ·
`SLIPWAY_BUS` (`pubsub`) · `SLIPWAY_QUEUE` (`projects/P/locations/L/queues/Q`; empty: the tick alone
wakes models) · `SLIPWAY_QUEUE_ACCOUNT` (as which tasks publish) · `SLIPWAY_COMPUTE_ENDPOINT` and
`SLIPWAY_TASKS_ENDPOINT` (empty: Google's) · `SLIPWAY_CLOCK` (`real`, or `scaled:SPEED:EPOCH`) ·
`SLIPWAY_REGISTRY` (`https`, or `emulated`) · the emulators' own variables
(`FIRESTORE_EMULATOR_HOST`, `PUBSUB_EMULATOR_HOST`) · `PROMETHEUS_URL` with
`SLIPWAY_REQUESTS_COUNTER`, `SLIPWAY_ERRORS_COUNTER` and `SLIPWAY_LATENCY_HISTOGRAM`, or
`SLIPWAY_METRICS` (`cloud-monitoring`; empty: no metrics), or both: then Prometheus answers nothing
but what gates select themselves; the same for the intake and the reconciler ·
`SLIPWAY_GATE_SECRET`, by which the reconciler and evaluation jobs sign, and `SLIPWAY_HTTP_GATES`
(`signed`), by which the intake knows of it · `SLIPWAY_NOTIFICATION_SECRETS`, for the notifier ·
`SLIPWAY_READS_PER_MINUTE`, the project's quota of reads of Compute Engine (1500) ·
`SLIPWAY_WEBHOOK_SECRETS`, for `on_webhook` · `K_SERVICE`, `K_REVISION` and `FUNCTION_TARGET`, which
Cloud Run sets.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal

from infra.clock import Clock
from infra.schedule.port import NoScheduler
from rollout.deferred import dataclass
from rollout.spec.metrics import PROMETHEUS, MetricsSource

if TYPE_CHECKING:
    from infra.bus.port import Bus
    from infra.compute.client import Compute
    from infra.identity.google import GoogleIdentity
    from infra.identity.needs import Instance
    from infra.metrics.port import Metrics
    from infra.notifications.port import Notifier
    from infra.registry.port import Registry
    from infra.schedule.port import Scheduler
    from infra.store.port import Store
    from infra.verdicts.port import Verdicts


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class ScaledClock:
    """Time that has run `speed` times as fast as real time since `epoch` (Unix seconds). For the
    local stack, where the Compute Engine emulator runs on the same scale.
    """

    speed: float
    epoch: float

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.epoch + (time.time() - self.epoch) * self.speed, UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)


READS_PER_MINUTE = 1500
"""Compute Engine's usual quota."""
MAX_SLEEPERS = 2
"""Of the four events that an instance handles at once: the others find a free slot."""


class World:
    """The outside world of the handlers: store, bus, scheduler, Compute Engine, registries, metrics
    and clock.

    Each part is created at its first use and kept. Messages of other projects than `project` are
    refused, unless it is empty.
    """

    def __init__(
        self,
        clock: Clock,
        store: Callable[[], Store],
        bus: Callable[[], Bus],
        compute: Callable[[], Compute],
        new_token: Callable[[], str] = lambda: secrets.token_hex(8),
        project: str = "",
        registry: Callable[[], Registry] = lambda: _make_registry("https"),
        jitter: Callable[[], float] = random.random,
        scheduler: Callable[[], Scheduler] = NoScheduler,
        metrics: Callable[[], Metrics] | None = None,
        verdicts: Callable[[], Verdicts] | None = None,
        metrics_source: MetricsSource = PROMETHEUS,
        notifier: Callable[[], Notifier] | None = None,
        reads_per_minute: int = READS_PER_MINUTE,
    ) -> None:
        """`jitter` returns a number from 0 to 1, which spreads what would happen at once.
        `metrics`: None without a source; `verdicts`: None if no evaluation job may be asked.
        `metrics_source` describes the source, if there is one. `notifier`: by default one without
        secrets. `reads_per_minute`: the project's quota of reads of Compute Engine.
        """
        self.reads_per_minute = reads_per_minute
        self.sleepers = threading.BoundedSemaphore(MAX_SLEEPERS)
        self.clock = clock
        self.project = project
        self.new_token = new_token
        self.jitter = jitter
        self._make_store, self._make_bus, self._make_compute = store, bus, compute
        self._make_registry = registry
        self._make_scheduler = scheduler
        self._make_metrics = metrics
        self._make_verdicts = verdicts
        self._metrics_source = metrics_source
        self._make_notifier = notifier or (lambda: _make_notifier(""))

    def connect(self, *parts: Literal["store", "bus", "compute", "scheduler", "notifier"]) -> None:
        """Create these parts now, so that the first event does not wait for them."""
        for part in parts:
            getattr(self, part)

    @cached_property
    def store(self) -> Store:
        return self._make_store()

    @cached_property
    def bus(self) -> Bus:
        return self._make_bus()

    @cached_property
    def scheduler(self) -> Scheduler:
        return self._make_scheduler()

    @cached_property
    def compute(self) -> Compute:
        return self._make_compute()

    @cached_property
    def registry(self) -> Registry:
        return self._make_registry()

    @property
    def has_metrics(self) -> bool:
        """Whether there is a source of metrics. Creates none: the intake only needs to know."""
        return self._make_metrics is not None

    @property
    def metrics_source(self) -> MetricsSource | None:
        """What there is to measure by, for the intake; None without a source."""
        return self._metrics_source if self.has_metrics else None

    @cached_property
    def metrics(self) -> Metrics | None:
        return self._make_metrics() if self._make_metrics else None

    @property
    def has_verdicts(self) -> bool:
        """Whether evaluation jobs may be asked. Creates nothing, as `has_metrics`."""
        return self._make_verdicts is not None

    @cached_property
    def notifier(self) -> Notifier:
        return self._make_notifier()

    @cached_property
    def verdicts(self) -> Verdicts | None:
        return self._make_verdicts() if self._make_verdicts else None


@cache
def world() -> World:
    """The World for this environment, created once per instance."""
    return make_world(dict(os.environ))


def make_world(environment: Mapping[str, str]) -> World:
    """The World that an environment describes."""
    clock = _make_clock(environment.get("SLIPWAY_CLOCK", "real"))
    project = environment.get("GOOGLE_CLOUD_PROJECT", "")
    return World(
        clock=clock,
        store=lambda: _make_store(project, environment),
        bus=lambda: _make_bus(project, environment.get("PUBSUB_EMULATOR_HOST") or None),
        compute=lambda: _make_compute(
            project, clock, environment.get("SLIPWAY_COMPUTE_ENDPOINT") or None
        ),
        project=project,
        registry=lambda: _make_registry(environment.get("SLIPWAY_REGISTRY") or "https"),
        scheduler=lambda: _make_scheduler(project, environment),
        metrics=_metrics_maker(project, environment),
        verdicts=_verdicts_maker(environment),
        metrics_source=_metrics_source(environment),
        notifier=lambda: _make_notifier(environment.get("SLIPWAY_NOTIFICATION_SECRETS", "")),
        reads_per_minute=int(environment.get("SLIPWAY_READS_PER_MINUTE") or READS_PER_MINUTE),
    )


def make_settings(environment: Mapping[str, str]) -> Store:
    """The database of the settings, for what people do. No function calls this."""
    return _make_databases(environment.get("GOOGLE_CLOUD_PROJECT", ""), environment)[1]


def function_target() -> str:
    """The entry point that this instance serves, as set by the functions platform, or empty."""
    return os.environ.get("FUNCTION_TARGET", "")


def instance() -> Instance | None:
    """The instance of a function that this is; None anywhere but on Cloud Run."""
    return instance_of(dict(os.environ))


def instance_of(environment: Mapping[str, str]) -> Instance | None:
    if not environment.get("K_SERVICE"):
        return None
    from infra.identity.needs import Instance

    return Instance(
        environment["K_SERVICE"],
        environment.get("K_REVISION", ""),
        environment.get("FUNCTION_TARGET", ""),
        environment.get("GOOGLE_CLOUD_PROJECT", ""),
        environment.get("SLIPWAY_QUEUE", ""),
        environment.get("SLIPWAY_QUEUE_ACCOUNT", ""),
        bool(environment.get("SLIPWAY_METRICS")),
    )


@cache
def identity() -> GoogleIdentity:
    """This function's own identity."""
    from infra.identity.google import GoogleIdentity

    return GoogleIdentity(world().project)


def webhook_secrets() -> str:
    """The secrets of those who may send webhooks, as text; empty if there are none."""
    return os.environ.get("SLIPWAY_WEBHOOK_SECRETS", "")


def _make_clock(text: str) -> Clock:
    kind, _, rest = text.partition(":")
    if kind == "real":
        return RealClock()
    if kind == "scaled":
        speed, _, epoch = rest.partition(":")
        return ScaledClock(float(speed), float(epoch))
    raise ValueError(f"SLIPWAY_CLOCK must be real or scaled:SPEED:EPOCH, got {text!r}")


def _make_store(project: str, environment: Mapping[str, str]) -> Store:
    from infra.store.databases import TwoDatabases

    return TwoDatabases(*_make_databases(project, environment))


def _make_databases(project: str, environment: Mapping[str, str]) -> tuple[Store, Store]:
    """The documents and the settings. SQLite has no identities, so there they share a file."""
    text = environment.get("SLIPWAY_STORE", "firestore")
    kind, _, path = text.partition(":")
    if kind == "firestore":
        from infra.store.databases import SETTINGS_DATABASE
        from infra.store.firestore import DATABASE, FirestoreStore

        database = environment.get("SLIPWAY_DATABASE") or DATABASE
        if database == SETTINGS_DATABASE:
            raise ValueError(
                f"SLIPWAY_DATABASE must be a database of the documents alone, got {database!r}"
            )
        emulator = environment.get("FIRESTORE_EMULATOR_HOST") or None
        documents = FirestoreStore(project, database, emulator=emulator)
        return documents, documents.beside(SETTINGS_DATABASE)
    if kind == "sqlite" and path:
        from infra.store.sqlite import SqliteStore

        store = SqliteStore(path)
        return store, store
    raise ValueError(f"SLIPWAY_STORE must be firestore or sqlite:PATH, got {text!r}")


def _make_bus(project: str, emulator: str | None) -> Bus:
    from infra.bus.pubsub import PubsubBus

    return PubsubBus(project, emulator=emulator)


def _make_scheduler(project: str, environment: Mapping[str, str]) -> Scheduler:
    queue = environment.get("SLIPWAY_QUEUE")
    if not queue:
        return NoScheduler()
    from infra.schedule.cloud_tasks import CloudTasks

    account = environment.get("SLIPWAY_QUEUE_ACCOUNT", "")
    return CloudTasks(project, queue, account, environment.get("SLIPWAY_TASKS_ENDPOINT") or None)


def _make_compute(project: str, clock: Clock, endpoint: str | None) -> Compute:
    from infra.compute.client import Compute

    return Compute(project, clock, endpoint)


def _make_registry(kind: str) -> Registry:
    if kind == "https":
        from infra.registry.https import HttpsRegistry

        return HttpsRegistry()
    if kind == "emulated":
        from infra.registry.emulated import EmulatedRegistry

        return EmulatedRegistry()
    raise ValueError(f"SLIPWAY_REGISTRY must be https or emulated, got {kind!r}")


def _metrics_maker(project: str, environment: Mapping[str, str]) -> Callable[[], Metrics] | None:
    """What makes the source of metrics; None if the environment names none."""
    url, kind = environment.get("PROMETHEUS_URL"), environment.get("SLIPWAY_METRICS")
    if kind and kind != "cloud-monitoring":
        raise ValueError(f"SLIPWAY_METRICS must be cloud-monitoring, or left out, got {kind!r}")

    def prometheus(url: str) -> Metrics:
        from infra.metrics.prometheus import Prometheus, balancer_of

        return Prometheus(url, balancer_of(environment))

    def cloud_monitoring() -> Metrics:
        from infra.metrics.cloud_monitoring import CloudMonitoring

        return CloudMonitoring(project, prometheus_url=url or "")

    if kind:
        return cloud_monitoring
    return (lambda: prometheus(url)) if url else None


def _metrics_source(environment: Mapping[str, str]) -> MetricsSource:
    """What the settings of a source say of it: with a counter of requests of its own, a Prometheus
    has none of the default metrics.
    """
    if environment.get("SLIPWAY_METRICS"):
        return MetricsSource("cloud-monitoring")
    is_default = not environment.get("SLIPWAY_REQUESTS_COUNTER")
    return MetricsSource(
        "prometheus",
        has_errors=is_default or bool(environment.get("SLIPWAY_ERRORS_COUNTER")),
        has_latencies=is_default or bool(environment.get("SLIPWAY_LATENCY_HISTOGRAM")),
    )


def _make_notifier(secrets: str) -> Notifier:
    from infra.notifications.https import HttpsNotifier, read_notification_secrets

    return HttpsNotifier(read_notification_secrets(secrets))


def _verdicts_maker(environment: Mapping[str, str]) -> Callable[[], Verdicts] | None:
    """What asks evaluation jobs; None if the environment has no secret for them."""
    secret, flag = environment.get("SLIPWAY_GATE_SECRET"), environment.get("SLIPWAY_HTTP_GATES")
    if flag not in (None, "", "signed"):
        raise ValueError(f"SLIPWAY_HTTP_GATES must be signed, or left out, got {flag!r}")

    def signed(text: str) -> Verdicts:
        from infra.verdicts.https import HttpsVerdicts
        from infra.verdicts.signing import read_secrets

        return HttpsVerdicts(read_secrets(text))

    def unsigned() -> Verdicts:
        from infra.verdicts.port import NoSecret

        return NoSecret()

    if secret:
        return lambda: signed(secret)
    return unsigned if flag else None
