"""Runs a rollout on the Compute Engine emulator, in virtual time: `rehearse(inputs, case)`.

Called by `console/rehearse.py`. In memory, the model's documents and the project's policy are
copied, the real handlers make the fleet that the documents describe, in the observed size, and then
get the release as an event. Nothing outside of this process is read or written.

People, requests and time are played: whoever must approve does after a while, requests come at a
steady rate (`rehearsed_traffic.py`), and freeze windows hold by the virtual clock, which begins
now. What other models use lowers the project's caps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from compute_emulator import Emulator, VirtualClock
from console.connect import Failure
from console.rehearsed_traffic import TIMES_AS_BAD, RehearsedTraffic, Shares
from handlers import approval, release, wakeup
from handlers.forecast import Inputs, RolloutPlan, Usage
from infra.bus.embedded import EmbeddedBus
from infra.compute.client import Compute
from infra.fleet import naming
from infra.fleet.observe import observe
from infra.fleet.resources import url_map
from infra.registry.emulated import EmulatedRegistry
from infra.schedule.timer import Timer
from infra.settings import POLICY, PRICES
from infra.store import outbox, repository
from infra.store.documents import release_to_record, to_document
from infra.store.port import Put, Store
from infra.store.sqlite import SqliteStore
from infra.wiring import World
from rollout.model import FULL_WEIGHT, Desired, Release, Stepping, TrafficWeight
from rollout.plan_hash import settled_before
from rollout.policy.freeze import cuts, frozen
from rollout.policy.prices import cost_per_hour
from rollout.spec.defaults import progress_deadline_seconds
from rollout.spec.steps import ApproveStep
from rollout.spec.stored import encode
from rollout.spec.way_back import REPLACEMENT_SECONDS
from rollout.state import ModelState
from rollout.targets import plan_of

Kind = Literal["as planned", "never healthy", "slow", "stock-out", "failing gates"]
CASES: Mapping[Kind, str] = {
    "as planned": "instances start as they did before",
    "never healthy": "no instance of the release becomes healthy",
    "slow": "instances of the release take twice as long to start",
    "stock-out": "Compute Engine has no capacity for further instances",
    "failing gates": f"its gates find {TIMES_AS_BAD} times the bad requests of what serves",
}
RELEASES, APPROVALS = "model-releases", "model-approvals"
READY_SECONDS = 10
SAMPLE_SECONDS = 5
LONGEST_FREEZE = timedelta(days=31)
"""What is frozen for longer is not waited for."""
CAPS = ("max_project_instances", "max_project_accelerators", "max_project_cost_per_hour")
"""Fields of the policy that cap a sum over all models."""


@dataclass(frozen=True)
class Assumptions:
    """`others`: what other models may use. `approve_after_seconds`: how long an approval takes."""

    others: Usage
    requests_per_second: float
    approve_after_seconds: int


@dataclass(frozen=True)
class Sample:
    """Instances by version at one moment, and the percentage of the requests of each version."""

    at: datetime
    by_version: Mapping[str, int]
    healthy: Mapping[str, int]
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A decision. `seconds`: after the release was published."""

    seconds: int
    from_: str
    to: str
    why: str


@dataclass(frozen=True)
class Rehearsal:
    """`outcome`: empty if it had not ended after `seconds`, and `why` is what it waits for.
    `lowest`: healthy instances, of whichever release; `cost`: of all instances until the end.
    `serving`: the release that serves in the end.
    """

    case: Kind
    about: str
    outcome: str
    reason: str
    why: str
    seconds: int
    peak: int
    lowest: int
    cost: float
    serving: str
    timeline: tuple[Entry, ...]
    samples: tuple[Sample, ...] = field(default=(), repr=False)


class Clock:
    """The emulator's time, which passes only while somebody sleeps. `watch` is called meanwhile."""

    def __init__(self, cloud: VirtualClock) -> None:
        self._cloud = cloud
        self.watch: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._cloud(), UTC)

    def skip(self, seconds: float) -> None:
        """Unobserved."""
        self._cloud.advance(seconds)

    def sleep(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            part = min(left, SAMPLE_SECONDS)
            self._cloud.advance(part)
            self.watch()
            left -= part


def rehearse(
    inputs: Inputs,
    event: Mapping[str, Any],
    documents: Mapping[str, Any],
    case: Kind,
    plan: RolloutPlan,
    assumed: Assumptions,
) -> Rehearsal:
    """`documents`: the project's settings."""
    stage = Stage(inputs, documents, case, plan.start_seconds, assumed)
    stage.provide()
    return stage.run(event, limit_of(inputs, plan, assumed))


def cases_of(inputs: Inputs) -> tuple[Kind, ...]:
    has_gates = bool(inputs.release.spec.rollout.gates) and inputs.state.rollout.stable is not None
    return tuple(each for each in CASES if has_gates or each != "failing gates")


class Stage:
    """A world in memory with one model."""

    def __init__(
        self,
        inputs: Inputs,
        documents: Mapping[str, Any],
        case: Kind,
        start_seconds: int,
        assumed: Assumptions,
    ) -> None:
        self._inputs, self._case, self._assumed = inputs, case, assumed
        self._model = inputs.state.desired.model
        project = inputs.policy.project or "rehearsal"
        cloud = VirtualClock(inputs.now.timestamp())
        self._clock = Clock(cloud)
        self._emulator = Emulator("rehearsal", cloud, operation_seconds=1)
        self._store: Store = SqliteStore(":memory:")
        self._bus = EmbeddedBus(self._clock, project)
        compute = Compute(
            "rehearsal",
            self._clock,
            "http://compute.local",
            None,
            self._emulator.adapter(),
            workers=1,
        )
        stable = inputs.state.rollout.stable
        self._traffic = RehearsedTraffic(
            assumed.requests_per_second,
            stable.template if stable else "",
            inputs.release.spec.rollout.gates,
            is_bad=case == "failing gates",
        )
        self._world = World(
            self._clock,
            lambda: self._store,
            lambda: self._bus,
            lambda: compute,
            registry=EmulatedRegistry,
            scheduler=lambda: Timer(self._bus),
            metrics=lambda: self._traffic,
            verdicts=lambda: self._traffic,
            project=inputs.policy.project,
        )
        self._bus.subscribe(RELEASES, lambda message: release.handle(self._world, message))
        self._bus.subscribe(APPROVALS, lambda message: approval.handle(self._world, message))
        self._bus.subscribe(outbox.WAKEUPS, lambda message: wakeup.handle(self._world, message))
        self._samples: list[Sample] = []
        self._provide_catalogue()
        self._provide_behaviours(start_seconds)
        self._provide_documents(documents)

    # ---- given

    def _provide_catalogue(self) -> None:
        """What the release refers to and exists, exists here too."""
        given: dict[str, list[str]] = {}
        for reference, answer in self._inputs.answers.items():
            kind = "images" if reference.catalogue == "imageFamilies" else reference.catalogue
            if answer.found and kind in ("images", "networks", "subnetworks"):
                family = "family/" if reference.catalogue == "imageFamilies" else ""
                scope = f"regions/{reference.region}" if reference.region else naming.GLOBAL
                project = f"projects/{reference.project}/" if reference.project else ""
                found = f"{project}{scope}/{kind}/{family}{reference.name}"
                given.setdefault(kind, []).append(found)
        self._emulator.catalogue.update(given)
        for each in self._releases():
            traffic = each.spec.traffic
            if traffic.is_exposed and traffic.certificate:
                name = naming.last(traffic.certificate)
                domain = "models.example.com" if traffic.host == "*" else traffic.host
                body = {"name": name, "type": "MANAGED", "managed": {"domains": [domain]}}
                if self._emulator.find("sslCertificates", str(name)) is None:
                    self._emulator.call("POST", "global/sslCertificates", body)

    def _provide_behaviours(self, start_seconds: int) -> None:
        """The stable release's template is known, whatever else runs is the candidate."""
        boot = max(1, start_seconds - REPLACEMENT_SECONDS - READY_SECONDS)
        healthy = {"boot_seconds": boot, "ready_after_seconds": READY_SECONDS}
        candidate: dict[str, Any] = dict(healthy)
        if self._case == "never healthy":
            candidate["never_ready"] = True
        if self._case == "slow":
            candidate = {"boot_seconds": boot + start_seconds, "ready_after_seconds": READY_SECONDS}
        stable = self._inputs.state.rollout.stable
        rules = [{"template": stable.template, **healthy}] if stable else []
        self._emulator.set_behaviours([*rules, candidate])

    def _provide_documents(self, documents: Mapping[str, Any]) -> None:
        policy = _beside(documents.get(POLICY, {}), self._assumed.others)
        writes = [Put(POLICY, policy), Put(PRICES, documents.get(PRICES, {}))]
        state = self._settled()
        writes += [
            Put(repository.release_path(self._model, each.version), release_to_record(each))
            for each in self._releases()
        ]
        if state.rollout.stable:
            writes.append(Put(repository.model_path(self._model), to_document(state)))
        self._store.commit(*writes)

    def _settled(self) -> ModelState:
        state = self._inputs.state
        rollout = settled_before(state.rollout)
        desired = Desired(self._model, rollout.stable, state.desired.generation)
        now = self._clock.now()
        return ModelState(desired, rollout, revision=state.revision, requeue_at=now)

    def _releases(self) -> tuple[Release, ...]:
        rollout = self._inputs.state.rollout
        found = (rollout.stable, rollout.previous, self._inputs.base)
        return tuple({each.version: each for each in found if each}.values())

    def provide(self) -> None:
        """The fleet that the documents describe, with as many instances as there are."""
        stable = self._inputs.state.rollout.stable
        if stable is None:
            return
        observed = observe(self._inputs.snapshot, self._model)
        for group in observed.groups:
            name = naming.group_name(self._model, group.colour)
            target = stable.spec.scaling.cpu.target if stable.spec.scaling.cpu else 0.6
            size = group.recommended_size or group.target_size
            self._emulator.load[name] = {"cpu_demand": max(0.0, size - 0.01) * target}
        group_view = observed.group(self._inputs.state.rollout.serving_group or "blue")
        goal = max(stable.spec.scaling.min, group_view.target_size if group_view else 0)
        self._wake()
        for _ in range(240):
            self._pass_time(30)
            is_still = all(each["action"] == "NONE" for each in self._emulator.instances())
            is_whole = sum(self._sample().healthy.values()) >= goal
            if is_whole and is_still and not self._is_due():
                return
        raise Failure(
            f"the emulator could not run release {stable.version} as it is now:"
            f" {self._waiting_for()}"
        )

    # ---- when

    def run(self, event: Mapping[str, Any], limit_seconds: int) -> Rehearsal:
        if self._case == "stock-out":
            self._emulator.stock_outs["*"] = {}
        began, version = self._clock.now(), str(event["version"])
        self._samples = [self._sample()]
        self._clock.watch = self._watch
        self._bus.publish(RELEASES, json.dumps(event).encode())
        self._bus.pump()
        refused = [each.data for each in self._store.list("quarantine", 1, None)]
        if refused:
            raise Failure(f"it cannot be rehearsed: {refused[0]['why']}")
        end = began + timedelta(seconds=limit_seconds)
        while self._clock.now() < end and not self._ending(version) and not self._is_paused():
            if not self._skip_freeze():
                self._pass_time(30)
            self._approve()
        return self._result(version, began)

    def _result(self, version: str, began: datetime) -> Rehearsal:
        ending = self._ending(version)
        log = self._store.list(f"models/{self._model}/log", 1000, None)
        entries = [each.data for each in log if each.data["release"] == version]
        last = next((n for n, each in enumerate(entries) if each["outcome"]), len(entries))
        timeline = tuple(
            Entry(
                round((each["at"] - began).total_seconds()), each["from"], each["to"], each["why"]
            )
            for each in entries[: last + 1]
        )
        ended = began + timedelta(seconds=timeline[-1].seconds) if ending else self._clock.now()
        samples = tuple(each for each in self._samples if each.at <= ended)
        stable = self._state().rollout.stable
        outcome = "paused" if self._is_paused() else ending.get("outcome", "")
        return Rehearsal(
            case=self._case,
            about=CASES[self._case],
            outcome=outcome,
            reason=ending.get("reason") or "",
            why=ending.get("why") or self._waiting_for(),
            seconds=round((ended - began).total_seconds()),
            peak=max(sum(each.by_version.values()) for each in samples),
            lowest=min(sum(each.healthy.values()) for each in samples),
            cost=sum(self._costs(samples, ended)),
            serving=stable.version if stable else "",
            timeline=timeline,
            samples=samples,
        )

    def _costs(self, samples: tuple[Sample, ...], ended: datetime) -> Iterator[float]:
        prices = {
            each.version: cost_per_hour(self._inputs.prices, each.spec)
            for each in (*self._releases(), self._inputs.release)
        }
        until = (*(each.at for each in samples[1:]), ended)
        for sample, end in zip(samples, until, strict=True):
            hours = (end - sample.at).total_seconds() / 3600
            for version, count in sample.by_version.items():
                yield hours * count * prices.get(version, 0) if hours and count else 0.0

    def _approve(self) -> None:
        state = self._state()
        phase, candidate = state.rollout.phase, state.rollout.candidate
        if not isinstance(phase, Stepping) or candidate is None or phase.approved_by:
            return
        _, _, steps = plan_of(state.rollout)
        due = phase.since + timedelta(seconds=self._assumed.approve_after_seconds)
        if isinstance(steps[phase.step], ApproveStep) and self._clock.now() >= due:
            approve = {
                "model": self._model,
                "command": "approve",
                "version": candidate.version,
                "requested_by": "the rehearsal",
            }
            self._bus.publish(APPROVALS, json.dumps(approve).encode())
            self._bus.pump()

    # ---- Time

    def _skip_freeze(self) -> bool:
        """Nothing begins while the policy freezes it, so that time passes at once."""
        now = self._clock.now()
        found = frozen(self._inputs.policy.freezes, now)
        is_frozen = any(each.type == "Frozen" for each in self._state().conditions)
        if not is_frozen or found is None or found.until - now > LONGEST_FREEZE:
            return False
        self._clock.skip((found.until - now).total_seconds())
        self._bus.pump()
        self._wake()
        return True

    def _pass_time(self, seconds: int) -> None:
        """Time passes, with a tick at its end and all the passes that follow from it."""
        end = self._clock.now() + timedelta(seconds=seconds)
        while (now := self._clock.now()) < end:
            due = min(end, self._bus.next_due() or end)
            self._clock.sleep(max(0.0, (due - now).total_seconds()))
            self._bus.pump()
        self._wake()

    def _wake(self) -> None:
        self._bus.publish(outbox.WAKEUPS, json.dumps({"tick": True}).encode())
        self._bus.pump()

    # ---- then

    def _state(self) -> ModelState:
        stored = repository.load_state(self._store, self._model)
        return stored.state if stored else ModelState(Desired(self._model))

    def _is_due(self) -> bool:
        return self._state().requeue_at is not None

    def _is_paused(self) -> bool:
        return self._state().rollout.paused is not None

    def _waiting_for(self) -> str:
        state = self._state()
        return state.rollout.paused.why if state.rollout.paused else state.waiting_for

    def _ending(self, version: str) -> Mapping[str, Any]:
        record = self._store.get(repository.release_path(self._model, version))
        if record is None or not record.data.get("outcome"):
            return {}
        ended: dict[str, Any] = record.data["ended"]
        return ended | {"outcome": record.data["outcome"]}

    def _watch(self) -> None:
        sample = self._sample()
        self._samples.append(sample)
        self._traffic.record(self._shares_of_requests(sample))

    def _shares_of_requests(self, sample: Sample) -> Shares:
        """Two groups share them by weight, two releases in one group by their healthy instances."""
        templates = {each.version: each.template for each in (*self._releases(), *self._new())}
        parts = {version: percent / 100 for version, percent in sample.shares.items()}
        if not parts:
            total = sum(sample.healthy.values())
            parts = {version: count / total for version, count in sample.healthy.items() if count}
        weights = self._weights()
        services = {
            naming.backend_service(self._model, each.colour).name: each.weight / FULL_WEIGHT
            for each in weights
        }
        return Shares(
            sample.at,
            {templates[version]: part for version, part in parts.items() if version in templates},
            services,
        )

    def _new(self) -> tuple[Release, ...]:
        """The release as this world has accepted it."""
        candidate = self._state().rollout.candidate
        return (candidate,) if candidate else ()

    def _sample(self) -> Sample:
        versions = {each.template: each.version for each in self._releases()}
        is_exposed = self._inputs.release.spec.traffic.is_exposed
        found, healthy = Counter[str](), Counter[str]()
        for record in self._emulator.instances():
            if record["status"] and record["action"] != "DELETING":
                version = versions.get(record["template"], self._inputs.release.version)
                found[version] += 1
                is_healthy = record["ready"] if is_exposed else record["alive"] == "HEALTHY"
                healthy[version] += is_healthy
        return Sample(self._clock.now(), found, healthy, self._shares())

    def _weights(self) -> tuple[TrafficWeight, ...]:
        gateway = naming.gateway_named(self._inputs.release.spec.traffic.gateway)
        found = self._emulator.find("urlMaps", gateway.url_map.name)
        return url_map.weights(self._model, found) if found else ()

    def _shares(self) -> Mapping[str, float]:
        """By version, while two groups share the requests."""
        found = self._weights()
        rollout = self._state().rollout
        stable, candidate = rollout.stable, rollout.candidate
        if len(found) < 2 or stable is None:
            return {}
        serving, other = stable.version, candidate.version if candidate else ""
        return {
            serving if each.colour == rollout.serving_group else other: each.weight / 10
            for each in found
        }


def rehearsed_event(event: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """The event. Whoever has to sign an approval is played too, and has no key here."""
    steps = inputs.release.spec.rollout.steps or ()
    approvals = [each for each in steps if isinstance(each, ApproveStep)]
    if all(each.approve.by == APPROVALS for each in approvals):
        return dict(event)
    dumped = [
        {name: value for name, value in encode(each).items() if value is not None} for each in steps
    ]
    for each in dumped:
        if "approve" in each:
            each["approve"]["by"] = APPROVALS
    given = event.get("rollout")
    rollout = dict(given) if isinstance(given, Mapping) else {}
    return {**event, "rollout": rollout | {"steps": dumped}}


def limit_of(inputs: Inputs, plan: RolloutPlan, assumed: Assumptions) -> int:
    """When a rehearsal ends that does not end by itself."""
    spec = inputs.release.spec
    approvals = sum(isinstance(each, ApproveStep) for each in spec.rollout.steps or ())
    people = approvals * (assumed.approve_after_seconds + 60)
    length = timedelta(seconds=3 * plan.seconds + people)
    _, end = cuts(inputs.policy.freezes, inputs.now, length)
    seconds = (min(end - inputs.now, length + LONGEST_FREEZE)).total_seconds()
    return round(seconds) + 3 * progress_deadline_seconds(spec) + 3600


def _beside(policy: Mapping[str, Any], others: Usage) -> dict[str, Any]:
    """The policy with what other models leave of the project's caps, and without a stop, which ends
    when a person says so.
    """
    used = (others.instances, others.accelerators, others.cost)
    left = {
        name: max(0, policy[name] - use)
        for name, use in zip(CAPS, used, strict=True)
        if policy.get(name) is not None
    }
    return {name: each for name, each in {**policy, **left}.items() if name != "stop"}
