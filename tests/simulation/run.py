"""One run from a schedule to its result: chaos, then everything is mended, then convergence and quiet are demanded.

Two oracles look at the end: the world must be the one of the run without faults, and so must the number of resources made and
deleted on the way, after a single death that of updates too. Where a fault may honestly change the outcome (a refusal, a lost
zone), the end must be whole in itself: every release with an outcome, and the model's world what its stable release asks for.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from infra.stores.sqlite import SqliteStore
from local.compute.instance_controls import affect
from local.compute.keys import Key
from local.compute.wire import Request, answer
from rollout.encode import from_document
from tests.simulation import schedule as schedules
from tests.simulation.engine import BEHAVIOUR, Simulation, quiet_logs
from tests.simulation.memory import MemoryStore
from tests.simulation.rules import Rules
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.workloads import IMAGE, SECRET, WORKLOADS, Step

PATIENCE = 3600.0  # for a step's moment to come
BOUND = 3 * 3600.0  # from mended to settled
SURVEY_SECONDS = 330.0
QUIET_TICKS = 50
TOLD_LINES = 600  # the last ones
SERVER_SET = {
    "labelFingerprint",
    "id",
    "creationTimestamp",
    "fingerprint",
    "calculated",
    "status",
    "targetSize",
    "_carried",
    "selfLink",
    "selfLinkWithId",
    "instanceFlexibilityPolicy",
}


@dataclass
class Result:
    schedule: Schedule
    trace: str = ""
    broken: tuple[str, ...] = ()
    end: dict[str, Any] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    calls: tuple[str, ...] = ()  # the name of every external call, in order
    write_names: frozenset[str] = frozenset()
    steps: tuple[int, ...] = ()  # how many calls had been made when each step of the workload was taken
    messages: int = 0
    rollouts: int = 0  # how often a release set out, the first of a model too
    seconds: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)
    story: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        return "; ".join(self.broken)


def run(
    schedule: Schedule,
    *,
    is_fast: bool = True,
    is_reference: bool = False,
    is_told: bool = False,
    store: MemoryStore | SqliteStore | None = None,
) -> Result:
    """`is_told`: with `trace` and `story` also where nothing is broken; to write them down takes time."""
    unmute = quiet_logs()
    gc.disable()  # a run is short, and a third of its time would go into looking through the libraries' objects
    story = Story(schedule, is_fast, is_told, store or MemoryStore())
    try:
        story.tell()
        if not is_reference and not story.simulation.broken:
            story.compare(reference(schedule.workload))
        return story.result()
    finally:
        story.simulation.close()
        gc.enable()
        unmute()


@cache
def reference(workload: str) -> Result:
    """The run without faults."""
    found = run(Schedule(workload), is_reference=True)
    if found.broken:
        raise AssertionError(f"{workload} fails without any fault: {found.why}")
    return found


class Story:
    def __init__(self, schedule: Schedule, is_fast: bool, is_told: bool, store: MemoryStore | SqliteStore) -> None:
        self.is_told = is_told
        self.schedule, self.workload = schedule, WORKLOADS[schedule.workload]
        self.simulation = Simulation(schedule, store, is_fast=is_fast)
        self.rules = Rules(self.simulation, self.workload.models)
        self.cloud = self.simulation.cloud
        bad = [{"image": f"*{IMAGE}:{version}*", **BEHAVIOUR, **how} for version, how in self.workload.bad.items()]
        self.cloud.set_behaviours([*bad, BEHAVIOUR])
        self.waiting = list(self.workload.steps)
        self.since = self.simulation.now()
        self.seen = 0
        self.steps: list[int] = []
        self.settled_after = 0.0
        self.restless = 0.0
        self.gave_up = False

    # ---- chaos, mending, quiet

    def tell(self) -> None:
        simulation = self.simulation
        simulation.tick()
        for fault in self.schedule.faults:
            if fault.kind in schedules.ON_THE_WORLD:
                simulation.at(simulation.began + fault.at, partial(self.disturb, fault))
        self._until(lambda: not self.waiting, PATIENCE * (len(self.waiting) + 1), "the workload's steps")
        self._until(lambda: self._is_settled() and self._is_over(), self.schedule.chaos_seconds, "")
        self.mend()
        self.restless = simulation.now()
        self._until(self._is_at_rest, BOUND, "the end")
        self.settled_after = simulation.now() - simulation.began
        self._be_quiet()

    def _is_over(self) -> bool:
        """Whether no disturbance is to come."""
        now = self.simulation.now() - self.simulation.began
        return all(fault.at < now for fault in self.schedule.faults if fault.kind in schedules.ON_THE_WORLD)

    def _until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        simulation = self.simulation
        end = simulation.now() + seconds - simulation.skipped
        while not reached():
            if simulation.now() - simulation.skipped > end:
                if what:
                    simulation.break_off(f"{what} not reached after {seconds:.0f} s: {self._state()}")
                return
            self._step_when_due()
            if not simulation.step():
                return
            self.rules.look()

    def _state(self) -> str:
        told = {
            model: (doc["rollout"]["phase"], doc["wake_at"] and str(doc["wake_at"]), doc["conditions"])
            for model, doc in self.rules.documents.items()
        }
        return f"{told} in flight {self.simulation.in_flight}, alive {len(self.simulation.alive)}"

    def _step_when_due(self) -> None:
        if self.waiting and self._has_come(self.waiting[0]):
            step = self.waiting.pop(0)
            self.steps.append(len(self.simulation.names))
            self.since, self.seen = self.simulation.now(), len(self.rules.entered[step.model])
            self.simulation.note(f"step: {step.do or json.dumps(step.body)[:80]}")
            if step.do:
                getattr(self, f"_do_{step.do}")()
            else:
                self.simulation.publish("model-releases", json.dumps(step.body).encode())

    def _has_come(self, step: Step) -> bool:
        waited = self.simulation.now() - self.since
        if not isinstance(step.when, str):
            return waited >= step.when
        if waited > PATIENCE:
            self.gave_up = True  # what was asked for next was asked of another world
            return True
        if step.when == "settled":
            return self._is_settled() and self._is_idle()
        return step.when in self.rules.entered[step.model][self.seen :]

    def _is_settled(self) -> bool:
        store = self.simulation.store
        held = [store.get(f"models/{model}") for model in {step.model for step in self._taken()}]
        return all(document is not None and document.data["wake_at"] is None for document in held)

    def _is_at_rest(self) -> bool:
        """Settled and idle, and so for a survey's time: the late call of a frozen worker is drift, mended by a survey."""
        now = self.simulation.now()
        if not (self._is_idle() and self._is_settled()):  # in this order: to be idle skips the ticks before a late message
            self.restless = now
        return now - self.restless > SURVEY_SECONDS

    def _taken(self) -> tuple[Step, ...]:
        return self.workload.steps[: len(self.workload.steps) - len(self.waiting)]

    def _is_idle(self) -> bool:
        simulation = self.simulation
        if simulation.alive or simulation.store.list("outbox", 1, None):
            return False
        if simulation.in_flight:
            simulation.skip_ticks()
        return not simulation.in_flight

    def mend(self) -> None:
        simulation = self.simulation
        simulation.note("mended")
        simulation.is_healed = True
        self.cloud.stock_outs.clear()
        self.cloud.quotas.clear()
        self.cloud.load.clear()
        self.cloud.operations.seconds = 1
        for where, operation in list(self.cloud.operations.table.items()):
            if operation["status"] != "DONE":
                self.cloud.operations.finish(where)
        affect(self.cloud, "revive")

    def _be_quiet(self) -> None:
        simulation = self.simulation
        if simulation.broken:
            return
        before = Counter(simulation.writes)
        end = simulation.now() + QUIET_TICKS * 60.0
        while simulation.now() < end and simulation.step():
            pass
        done = simulation.writes - before
        if done:
            simulation.break_off(f"{dict(done)} writes in {QUIET_TICKS} ticks after everything had settled")

    # ---- the end

    def result(self) -> Result:
        simulation = self.simulation
        story = simulation.story() if self.is_told or simulation.broken else []
        return Result(
            schedule=self.schedule,
            trace=hashlib.blake2b("\n".join(story).encode(), digest_size=8).hexdigest() if story else "",
            broken=tuple(simulation.broken),
            end=self.end() if not simulation.broken else {},
            effects=self.effects(),
            calls=tuple(simulation.names),
            write_names=frozenset(simulation.writes),
            steps=tuple(self.steps),
            messages=simulation.messages,
            rollouts=sum(entered.count("step_1") for entered in self.rules.entered.values()),
            seconds=self.settled_after,
            struck=simulation.struck,
            story=tuple(story[-TOLD_LINES:]),
        )

    def end(self) -> dict[str, Any]:
        resources = {
            f"{collection}/{name}": _plain(body)
            for (_, collection), table in self.cloud.tables.items()
            if collection not in ("operations", "instances", "disks", "images", "instanceGroups")
            for name, body in table.items()
        }
        refused = sorted(record.data["why"] for record in self.simulation.store.list("quarantine", 100, None))
        return {"resources": resources, "refused": refused, **{model: self._end_of(model) for model in self.workload.models}}

    def _end_of(self, model: str) -> dict[str, Any]:
        store = self.simulation.store
        document = store.get(f"models/{model}")
        if document is None:
            return {}
        state = from_document(document.data)
        releases = store.list(f"models/{model}/releases", 100, None)
        templates = {release.data["template"]: release.data["version"] for release in releases}
        live = [each for each in self.cloud.snapshot() if each["group"] == f"{model}-blue" and each["action"] != "DELETING"]
        healthy = Counter(templates.get(each["template"], each["template"]) for each in live if each["alive"] == "HEALTHY")
        return {
            "serves": state.rollout.stable.version if state.rollout.stable else None,
            "desired": state.desired.release.version if state.desired.release else None,
            "phase": type(state.rollout.phase).__name__,
            "outcomes": {release.data["version"]: release.data.get("outcome") for release in releases},
            "healthy": dict(healthy),
            "conditions": [condition.type for condition in state.conditions],
            "outputs": sorted(state.outputs),
        }

    def effects(self) -> Counter[str]:
        """The changes that Compute Engine took, by kind and collection."""
        return Counter(
            f"{operation['operationType']} {operation['targetLink'].split('/')[-2]}"
            for operation in self.cloud.operations.table.values()
            if not operation.get("error")
        )

    def compare(self, undisturbed: Result) -> None:
        end = self.end()
        for model in self.workload.models:
            self._whole(model, end[model], end["resources"])
        for topic, event in self.simulation.told:
            if SECRET in json.dumps(event.data) or SECRET.encode() in _data(event):
                self.simulation.break_off(f"a secret was told on {topic}")
        if self.schedule.may_show or self.simulation.broken:
            return
        wanted = self.workload.serves
        if wanted and not self.gave_up and end["tiny"]["serves"] != wanted:
            self.simulation.break_off(f"release {end['tiny']['serves']} serves and not {wanted}: {end['tiny']['outcomes']}")
        if self.workload.is_racy or self.gave_up:
            return
        if end != undisturbed.end:
            self.simulation.break_off(f"another end than without faults: {_difference(undisturbed.end, end)}")
        counted = Counter if self.schedule.is_one_death else _made
        made, usual = counted(self.effects()), counted(undisturbed.effects)
        if made != usual:
            self.simulation.break_off(f"other effects than without faults: {dict(made - usual)} more, {dict(usual - made)} less")

    def _whole(self, model: str, end: dict[str, Any], resources: dict[str, Any]) -> None:
        """Whatever happened: nothing half done, and everything on record."""
        if not end:
            return
        complain = self.simulation.break_off
        if end["phase"] != "Settled" or end["desired"] != end["serves"]:
            complain(f"{model}: settled with {end['desired']} desired and {end['serves']} serving, phase {end['phase']}")
        open_ends = [version for version, outcome in end["outcomes"].items() if outcome is None]
        if open_ends:
            complain(f"{model}: releases {open_ends} have no outcome")
        bodies = {name: body for name, body in resources.items() if name.rpartition("/")[2].startswith(f"{model}-")}
        if end["serves"] is None and bodies:
            complain(f"{model}: nothing serves and {sorted(bodies)} exist")
        if end["serves"] is not None:
            if set(end["healthy"]) != {end["serves"]}:
                complain(f"{model}: {end['serves']} should serve; healthy are {end['healthy']}")
            policy = bodies[f"autoscalers/{model}-blue"]["autoscalingPolicy"]
            if policy["mode"] != "ON":
                complain(f"{model}: the autoscaler's mode is {policy['mode']} at rest")
        if end["conditions"]:
            complain(f"{model}: settled with conditions {end['conditions']}")

    # ---- what else happens

    def _do_load(self) -> None:
        self.cloud.load["tiny-blue"] = {"cpu_demand": 2.9}

    def _do_others(self) -> None:
        """Another team gives its host a route of its own in the shared URL map."""
        held = self.cloud.find(Key("global", "urlMaps", "slipway-gateway"))
        if held is None:
            return  # nothing serves, which the end will show where it may not be
        rule = {"paths": ["/theirs"], "service": held["defaultService"]}
        matcher = {"name": "theirs", "defaultService": held["defaultService"], "pathRules": [rule]}
        self._ask(
            "PATCH",
            "global/urlMaps/slipway-gateway",
            {
                "hostRules": [*held.get("hostRules", []), {"hosts": ["theirs.example.com"], "pathMatcher": "theirs"}],
                "pathMatchers": [*held.get("pathMatchers", []), matcher],
            },
        )
        self.rules.foreign.append(rule)

    def _do_stock_out(self) -> None:
        self.cloud.stock_outs["us-central1"] = {}

    def _do_stock_in(self) -> None:
        self.cloud.stock_outs.clear()

    def disturb(self, fault: Fault) -> None:
        simulation, zone = self.simulation, f"us-central1-{fault.on}"
        if simulation.is_healed:
            return
        simulation.struck[fault.kind] += 1
        simulation.note(f"{fault.kind} {fault.on} {fault.code}")
        match fault.kind:
            case "zone_loss":
                self.rules.excused |= {*self.workload.models}
                self.cloud.stock_outs[zone] = {}
                affect(self.cloud, "stop", zone=zone)
            case "zone_back":
                self.cloud.stock_outs.pop(zone, None)
            case "capacity":
                self.cloud.quotas["INSTANCES"] = float(int(fault.code or 0))
            case "load":
                self.cloud.load["tiny-blue"] = {"cpu": 0.05 + 0.13 * int(fault.code or 0)}
            case "preempt":
                self.rules.excused |= {*self.workload.models}
                affect(self.cloud, "stop", most=fault.times)
            case "sicken":
                self.rules.excused |= {*self.workload.models}
                affect(self.cloud, "unready", most=fault.times)
            case "slow_operations":
                self.cloud.operations.seconds = fault.seconds
            case "operator":
                self._operate(int(fault.code or 0))
        self.cloud.advance()

    def _operate(self, number: int) -> None:
        """Somebody at the console, by the same API."""
        region = "regions/us-central1/"
        group, scaler = f"{region}instanceGroupManagers/tiny-blue", f"{region}autoscalers/tiny-blue"
        choices: list[tuple[str, str, Any]] = [
            ("PATCH", group, {"updatePolicy": {"maxSurge": {"fixed": 9}}}),
            ("PATCH", f"{region}autoscalers?autoscaler=tiny-blue", {"autoscalingPolicy": {"maxNumReplicas": 5, "mode": "OFF"}}),
            ("DELETE", scaler, None),
            ("PATCH", "global/healthChecks/tiny-ready", {"type": "HTTP", "checkIntervalSec": 30}),
            ("PATCH", "global/backendServices/tiny-blue", {"timeoutSec": 7}),
            ("PATCH", "global/urlMaps/slipway-gateway", {"pathMatchers": [], "hostRules": []}),
            ("PATCH", group, {"autoHealingPolicies": []}),
            ("POST", f"{group}/resize?size=4", None),
        ]
        http, path, body = choices[number % len(choices)]
        if path.endswith("slipway-gateway"):
            self.rules.foreign.clear()
        self.rules.excused |= {*self.workload.models}
        self._ask(http, path, body)

    def _ask(self, http: str, path: str, body: Any) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        answered = answer(self.cloud, Request(http, f"/compute/v1/projects/demo/{path}", data))
        self.simulation.note(f"somebody: {http} {path}: {answered.status}")


def _plain(body: Any) -> Any:
    if isinstance(body, dict):
        plain = {name: _plain(value) for name, value in sorted(body.items()) if name not in SERVER_SET}
        if "pathRules" in plain:  # in the order in which models came
            plain["pathRules"].sort(key=str)
        return plain
    if isinstance(body, list):
        return [_plain(value) for value in body]
    return body


def _made(effects: Counter[str]) -> Counter[str]:
    return Counter({kind: count for kind, count in effects.items() if kind.partition(" ")[0].endswith(("insert", "delete"))})


def _data(event: Any) -> bytes:
    import base64

    return base64.b64decode(event.data["message"].get("data") or "")


def _difference(before: Any, after: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [
            _difference(before.get(name), after.get(name), f"{path}.{name}")
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
        return "; ".join(parts)
    return f"{path[1:]}: {str(before)[:200]} -> {str(after)[:200]}"
