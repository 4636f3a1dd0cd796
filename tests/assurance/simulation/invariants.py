"""The invariants: checked after every external write and after every event.

They read the emulator and the committed documents directly, never through the code under test. A
violation ends the run (`Simulation.fail`).

    I2  floor       healthy serving instances >= the lowest minimum of the live releases, except for
                    losses that the run itself caused; of two groups, those that get requests, each
                    with a healthy instance, and the one that a rollback would return to
    I3  ceiling     instances <= the highest maximum of the live releases, with surge
    I4  versions    at most two are live; one whose end is recorded has no instance, unless nothing
                    served before it and a newer one replaces it. When a newer release takes
                    over a stalled rollback, no instance of a third one is created
        way back    the stable release's template exists while there is a candidate; a rollback
                    without progress says why
    I6  ours        only resources of the workload's models and of the gateway are written, foreign
                    rules in the URL map stay, and no group's size is written
    I8  monotonic   generation and revision never decrease (the store keeps a Replace from losing to
                    an older one)
    I10 wake-up     a model that is not settled has a `requeue_at`
    I17 no famine   without faults no model waits longer than MAX_WAIT for its pass
    I11 bounded     no delivery except a tick publishes more than one wake-up; none makes more than
                    MAX_CALLS_PER_DELIVERY calls or is busy for longer than ACK_DEADLINE
    I12 bad input   a refusal is recorded exactly once (`oracles.py`, in the final state)
    I13 secrets     no message contains a value marked as secret

`run.py` and `oracles.py` check I1 (the run converges, then writes nothing but the record of the
tick for 50 ticks, or for 6 in the tests of every commit), I5 (nothing is left over) and I7 (as many
resources created and deleted as without faults). I9 is I7 with stalled workers; I15 is
`test_determinism.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compute_emulator import GroupView, InstanceView
from infra.store.port import Create, Put, Replace, Write
from local.watch import weights as weights_of
from tests.assurance.simulation.engine import Simulation

REGION, GROUPS = "us-central1", "instanceGroupManagers"
SLACK_SECONDS = 600.0  # beyond a rollback's deadline: clocks differ by up to ten minutes
MAX_WAIT = 900.0  # for a due pass: a stalled worker's lease, and its message's back-off
FAILED_OUTCOMES = ("aborted", "rolled_back", "superseded")
GATEWAY = re.compile(r"slipway-gateway(-\w+)?")


class Invariants:
    def __init__(self, simulation: Simulation, models: tuple[str, ...]) -> None:
        self._simulation, self._emulator = simulation, simulation.emulator
        self.models = models
        self.documents: dict[str, Mapping[str, Any]] = {}
        # By model: version to template of the releases that have ended.
        self.ended_templates: dict[str, dict[str, str]] = {model: {} for model in models}
        self.excused: set[str] = set()  # models that lost instances to the run's own faults
        self.crash_loops: set[str] = set()  # versions whose instances end by themselves
        self.phases_entered: dict[str, list[str]] = {model: [] for model in models}
        # By model: the instances of third releases since a newer one took over a rollback.
        self._leaving: dict[str, set[str]] = {}
        self.commits = 0
        # Rules in the gateway's URL map that belong to another owner.
        self.foreign_rules: list[dict[str, Any]] = []
        names = "|".join(re.escape(model) for model in models)
        self._ours = re.compile(rf"slipway-({names})-((blue|green)(-lb|-live)?|[0-9a-f]{{10}})")
        simulation.on_commit.append(self.record_commit)
        simulation.after_write.append(self.check_write)

    # ---- committed documents

    def record_commit(self, writes: tuple[Write, ...]) -> None:
        self.commits += 1
        for write in writes:
            if not isinstance(write, Create | Put | Replace):
                continue
            parts = write.path.split("/")
            if parts[0] == "models" and len(parts) == 2:
                self._record_model(parts[1], write.data)
            elif parts[0] == "models" and parts[2] == "releases":
                self._record_release(parts[1], write.data)
            elif parts[0] == "models" and parts[2] == "log":
                self.phases_entered[parts[1]].append(str(write.data["to"]))

    def _record_model(self, model: str, new: Mapping[str, Any]) -> None:
        old = self.documents.get(model)
        if old and new["revision"] < old["revision"]:
            self._fail(f"{model}: revision decreased from {old['revision']} to {new['revision']}")
        if old and new["desired"]["generation"] < old["desired"]["generation"]:
            self._fail(
                f"{model}: generation decreased from {old['desired']['generation']} to"
                f" {new['desired']['generation']}"
            )
        self.documents[model] = new
        release, stable = new["desired"]["release"], new["stable"]
        is_due = new["rollout"]["phase"]["name"] != "settled"
        is_due = is_due or bool(release and (not stable or stable["version"] != release["version"]))
        if is_due and new["requeue_at"] is None:
            self._fail(f"{model}: in phase {new['rollout']['phase']['name']} without requeue_at")
        self._check_rollback(model, new)

    def _check_rollback(self, model: str, document: Mapping[str, Any]) -> None:
        """One that makes no progress until its deadline says why. That requests have left the
        candidate's group is progress: it drains from then on.
        """
        rollout, release = document["rollout"], document["stable"] or document["candidate"]
        phase, last = rollout["phase"], rollout["last_observed_at"]
        if phase["name"] != "rolling_back" or phase["stalled"] or last is None:
            return
        improved_at = phase["improved_at"] or phase["routed_since"] or phase["since"]
        idle = (last - improved_at).total_seconds()
        if idle > release["spec"]["rollout"]["progress_deadline_seconds"] + SLACK_SECONDS:
            self._fail(f"{model}: a rollback made no progress for {idle:.0f} s and does not say so")

    def _record_release(self, model: str, record: Mapping[str, Any]) -> None:
        version = str(record["version"])
        document = self.documents.get(model)
        newer = document["candidate"] if document and not document["stable"] else None
        is_replaced = newer is not None and newer["version"] != version
        if record.get("outcome") in FAILED_OUTCOMES and not is_replaced:
            self.ended_templates[model][version] = str(record["template"])
        else:
            self.ended_templates[model].pop(version, None)

    # ---- resources

    def check_write(self, name: str, target: str) -> None:
        if name.startswith("compute."):
            if not (self._ours.fullmatch(target) or GATEWAY.fullmatch(target)):
                self._fail(f"{name} writes {target}, which Slipway does not own")
            if name.endswith(".resize"):
                self._fail(f"{name} writes the size of {target}")
            if name.startswith("compute.urlMaps."):
                self._check_foreign_rules()
        self.check()

    def check(self) -> None:
        for model in self.models:
            document = self.documents.get(model)
            if document and document["requeue_at"] and self._simulation.is_healed:
                self._check_wait(model, document["requeue_at"].timestamp())
            groups = {
                name: group
                for name in (f"slipway-{model}-blue", f"slipway-{model}-green")
                if (group := self._emulator.group(name, REGION)) is not None
            }
            if document and groups:
                self._check_fleet(model, document, groups)

    def _check_wait(self, model: str, due_at: float) -> None:
        overdue = self._simulation.now() - max(due_at, self._simulation.ticks_since)
        if overdue > MAX_WAIT:
            self._fail(f"{model}: has waited {overdue:.0f} s for its pass")

    def _check_fleet(
        self, model: str, document: Mapping[str, Any], groups: Mapping[str, GroupView]
    ) -> None:
        stable, candidate, desired = (
            document["stable"],
            document["candidate"],
            document["desired"]["release"],
        )
        live_releases = [
            release for release in (stable, candidate, desired, document["previous"]) if release
        ]
        phase = document["rollout"]["phase"]["name"]
        by_group = {name: group.instances for name, group in groups.items()}
        members = [instance for found in by_group.values() for instance in found]
        live = {
            instance.template
            for instance in members
            if instance.action not in ("DELETING", "ABANDONING")
        }
        is_taken_over = self._is_taken_over(model, document, members)
        if len(live) > 2 and not is_taken_over:
            self._fail(f"{model}: {len(live)} versions live: {', '.join(sorted(live))}")
        if live_releases:
            ceiling = max(
                release["spec"]["scaling"]["max"] + max(3, release["spec"]["rollout"]["surge"] or 0)
                for release in live_releases
            )
            for name, found in by_group.items():
                # A group's size does not count an instance that is being deleted.
                size = sum(instance.action != "DELETING" for instance in found)
                if size > ceiling:
                    self._fail(f"{name}: {size} instances, ceiling {ceiling}")
        used = {release["template"] for release in (stable, candidate, desired) if release}
        for version, template in self.ended_templates[model].items():
            if template in live and template not in used and not is_taken_over:
                self._fail(f"{model}: release {version} has ended but still has instances")
        if (
            stable
            and candidate
            and phase != "retiring"
            and self._emulator.find("instanceTemplates", stable["template"], "global") is None
        ):
            self._fail(
                f"{model}: rollback impossible, template {stable['template']} of release"
                f" {stable['version']} is gone"
            )
        if document["rollout"]["phase"].get("in_place"):
            self.excused.add(model)  # without room for more, the way back may go below the floor
        if stable and phase != "retiring":
            self._check_floor(model, document, live_releases, groups)

    def _is_taken_over(
        self, model: str, document: Mapping[str, Any], members: list[InstanceView]
    ) -> bool:
        """Whether instances of a third release are left since a newer one took over a rollback.
        Once the group's versions name two releases, there are never other such instances.
        """
        two = {each["template"] for each in (document["stable"], document["candidate"]) if each}
        third = {
            each.name
            for each in members
            if each.template not in two and each.action not in ("DELETING", "ABANDONING")
        }
        is_taking_over = document["rollout"]["stable_kept"] is not None
        if not is_taking_over and model not in self._leaving:
            return False
        urls = [
            str(version["instanceTemplate"])
            for colour in ("blue", "green")
            if (found := self._emulator.find(GROUPS, f"slipway-{model}-{colour}", REGION))
            for version in found["versions"]
        ]
        is_written = {url.rpartition("/")[2] for url in urls} <= two
        if is_written and not third <= self._leaving.get(model, third):
            self._fail(f"{model}: a third release got instances: {third - self._leaving[model]}")
        if third or is_taking_over:
            self._leaving[model] = third
        else:
            self._leaving.pop(model, None)
        return bool(third)

    def _check_floor(
        self,
        model: str,
        document: Mapping[str, Any],
        live_releases: list[Mapping[str, Any]],
        groups: Mapping[str, GroupView],
    ) -> None:
        """The instances that requests reach, and, while there is a way back, those of the group
        that it leads to.
        """
        if any(release["version"] in self.crash_loops for release in live_releases):
            return
        floor = min(_floor_of(release["spec"]) for release in live_releases)
        serving = {name: _serving(group) for name, group in groups.items()}
        weights = weights_of(self._emulator, model) if len(groups) > 1 else {}
        routed = [name for name in groups if weights.get(name, not weights)]
        healthy = sum(len(serving[name]) for name in routed)
        back = f"slipway-{model}-{document['rollout']['serving_group']}"
        able = len(serving.get(back, ())) if weights and document["candidate"] else healthy
        steady = sum(each.action == "NONE" for name in routed for each in serving[name])
        if min(steady, able) >= floor and self._simulation.is_healed:
            self.excused.discard(model)
        if model in self.excused:
            return
        if healthy < floor:
            self._fail(f"{model}: {healthy} healthy instances, floor {floor}")
        if able < floor:
            self._fail(f"{back} could not take all requests back, floor {floor}")
        for name in routed:
            if weights and not serving[name]:
                self._fail(f"{name} gets requests and has no healthy instance")

    def _check_foreign_rules(self) -> None:
        gateway = self._emulator.find("urlMaps", "slipway-gateway", "global")
        for rule in self.foreign_rules:
            if gateway is not None and rule not in _rules(gateway):
                self._fail("a foreign rule in the URL map is gone")

    def _fail(self, why: str) -> None:
        self._simulation.fail(why)


def _serving(group: GroupView) -> list[InstanceView]:
    by_load_balancer = group.has_readiness_check
    return [
        each for each in group.instances if _is_serving(each, by_load_balancer=by_load_balancer)
    ]


def _is_serving(instance: InstanceView, *, by_load_balancer: bool) -> bool:
    """Healthy for a backend service; in a group without one, for the group's own health check."""
    if not instance.is_running:
        return False
    if not by_load_balancer:
        return instance.is_alive
    is_staying = not instance.is_draining and instance.action != "DELETING"
    return is_staying and instance.is_ready


def _rules(url_map: Mapping[str, Any]) -> list[Any]:
    return [
        rule for matcher in url_map.get("pathMatchers", []) for rule in matcher.get("pathRules", [])
    ]


def _floor_of(spec: Mapping[str, Any]) -> int:
    """The fewest instances that must serve: the minimum, less what the release allows to be
    unavailable.
    """
    unavailable = spec["rollout"]["unavailable"]
    if unavailable:
        unavailable = max(unavailable, 3) if not spec["rollout"]["surge"] or unavailable >= 3 else 0
    floor: int = spec["scaling"]["min"] - unavailable
    return floor
