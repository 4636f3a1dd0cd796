"""The rules of the house, looked at after every external write and whenever a worker is about to
read the clock anew.

Everything here is read from the stand-in itself and from what was committed, never through the code
under test. A rule that is broken ends the run (`Simulation.break_off`).

    I2  floor       healthy serving instances >= the fewest that the releases in play ask for, but for losses the run caused
    I3  ceiling     instances <= the most that the releases in play ask for, surge included
    I4  versions    at most two of them live; one whose end is on record has no instance, unless nothing served before it and a
                    newer one takes its place at once
        way back    the stable release's template stays while there is a candidate
    I6  ours        only names of the workload's models and of the gateway are written, and what others put into the URL map
                    stays; nobody writes a group's size
    I8  monotone    generation and revision never go down; a Replace never loses to an older one (the store sees to it)
    I10 wake-up     a model that is not settled has a time to be looked at
    I11 bounded     no delivery but a tick publishes more than one wake-up, none makes more than MOST_CALLS calls or lasts for
                    longer than ACK_DEADLINE by itself
    I12 bad input   what was refused is on record once, and no more (`oracles.py`, at the end)
    I13 secrets     what is marked as secret is in no message

The end of a run (`run.py`, `oracles.py`) holds I1 (it converges, with no write for 50 ticks, or 6
with every commit), I5 (nothing is left over) and I7 (as many resources made and deleted as without
faults); I9 is I7 with workers that froze; I15 is `test_determinism.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compute_emulator.engine.attached_services import services_of
from compute_emulator.engine.backends import service_check
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.engine.instance import Instance
from compute_emulator.keys import Key
from compute_emulator.rules.health import Check
from infra.store.port import Create, Put, Replace, Write
from tests.assurance.simulation.engine import Simulation

REGION = "regions/us-central1"
ENDED_BADLY = ("aborted", "rolled_back", "superseded")
GATEWAY = re.compile(r"slipway-gateway(-\w+)?")


class Rules:
    def __init__(self, simulation: Simulation, models: tuple[str, ...]) -> None:
        self._simulation, self._cloud = simulation, simulation.cloud
        self.models = models
        self.documents: dict[str, Mapping[str, Any]] = {}
        self.ended: dict[str, dict[str, str]] = {
            model: {} for model in models
        }  # version to template
        self.excused: set[str] = set()  # models that the run itself has taken instances from
        self.entered: dict[str, list[str]] = {model: [] for model in models}
        self.commits = 0
        self.foreign: list[
            dict[str, Any]
        ] = []  # rules in the gateway's URL map that are somebody else's
        names = "|".join(re.escape(model) for model in models)
        self._ours = re.compile(rf"({names})-(blue|green|live|ready|[0-9a-f]{{10}})")
        simulation.on_commit.append(self.committed)
        simulation.after_write.append(self.written)

    # ---- what was committed

    def committed(self, writes: tuple[Write, ...]) -> None:
        self.commits += 1
        for write in writes:
            if not isinstance(write, Create | Put | Replace):
                continue
            parts = write.path.split("/")
            if parts[0] == "models" and len(parts) == 2:
                self._document(parts[1], write.data)
            elif parts[0] == "models" and parts[2] == "releases":
                self._release(parts[1], write.data)
            elif parts[0] == "models" and parts[2] == "log":
                self.entered[parts[1]].append(str(write.data["to"]))

    def _document(self, model: str, new: Mapping[str, Any]) -> None:
        old = self.documents.get(model)
        if old and new["revision"] < old["revision"]:
            self._broken(f"{model}: revision fell from {old['revision']} to {new['revision']}")
        if old and new["desired"]["generation"] < old["desired"]["generation"]:
            self._broken(
                f"{model}: generation fell from {old['desired']['generation']} to"
                f" {new['desired']['generation']}"
            )
        self.documents[model] = new
        release, stable = new["desired"]["release"], new["stable"]
        waits = bool(new["desired"]["commands"]) or new["rollout"]["phase"]["name"] != "settled"
        waits = waits or bool(release and (not stable or stable["version"] != release["version"]))
        if waits and new["requeue_at"] is None:
            self._broken(
                f"{model}: in phase {new['rollout']['phase']['name']} with nothing to wake it"
            )

    def _release(self, model: str, record: Mapping[str, Any]) -> None:
        version = str(record["version"])
        held = self.documents.get(model)
        if record.get("outcome") in ENDED_BADLY and (
            held is None or held["stable"] or record["outcome"] != "superseded"
        ):
            self.ended[model][version] = str(record["template"])
        else:
            self.ended[model].pop(version, None)

    # ---- what exists

    def written(self, name: str, target: str) -> None:
        if name.startswith("compute."):
            if not (self._ours.fullmatch(target) or GATEWAY.fullmatch(target)):
                self._broken(f"{name} was asked for {target}, which is nobody's of ours")
            if name.endswith(".resize"):
                self._broken(f"{name} writes the size of {target}")
            if name.startswith("compute.urlMaps."):
                self._foreign_rules()
        self.look()

    def look(self) -> None:
        for model in self.models:
            document = self.documents.get(model)
            group = group_at(self._cloud, Key(REGION, "instanceGroupManagers", f"{model}-blue"))
            if document and group:
                self._look_at(model, document, group)

    def _look_at(self, model: str, document: Mapping[str, Any], group: Group) -> None:
        stable, candidate, desired = (
            document["stable"],
            document["candidate"],
            document["desired"]["release"],
        )
        in_play = [
            release for release in (stable, candidate, desired, document["previous"]) if release
        ]
        phase = document["rollout"]["phase"]["name"]
        members = group.instances.values()
        live = {
            _last(machine.revision.template)
            for machine in members
            if machine.action not in ("DELETING", "ABANDONING")
        }
        if len(live) > 2:
            self._broken(f"{model}: {len(live)} versions live: {', '.join(sorted(live))}")
        if in_play:
            ceiling = max(
                release["spec"]["scaling"]["max"] + max(3, release["spec"]["rollout"]["surge"] or 0)
                for release in in_play
            )
            staying = sum(
                machine.action != "DELETING" for machine in members
            )  # one that leaves is not counted in a group's size
            if staying > ceiling:
                self._broken(f"{model}: {staying} instances, ceiling {ceiling}")
        used = {release["template"] for release in (stable, candidate, desired) if release}
        for version, template in self.ended[model].items():
            if template in live and template not in used:
                self._broken(f"{model}: release {version} has ended and still has instances")
        if (
            stable
            and candidate
            and phase != "retiring"
            and self._cloud.find(Key("global", "instanceTemplates", stable["template"])) is None
        ):
            self._broken(
                f"{model}: no way back, template {stable['template']} of release"
                f" {stable['version']} is gone"
            )
        if stable and phase != "retiring":
            self._floor(model, in_play, group)

    def _floor(self, model: str, in_play: list[Mapping[str, Any]], group: Group) -> None:
        floor = min(_floor_of(release["spec"]) for release in in_play)
        checks = [
            check
            for service in services_of(self._cloud, group.group_key)
            if (check := service_check(self._cloud, service))
        ]
        serving = [
            machine
            for machine in group.instances.values()
            if _is_serving(machine, checks, group.check())
        ]
        healthy, steady = len(serving), sum(machine.action == "NONE" for machine in serving)
        if steady >= floor and self._simulation.is_healed:
            self.excused.discard(model)
        elif healthy < floor and model not in self.excused:
            self._broken(f"{model}: {healthy} healthy instances, floor {floor}")

    def _foreign_rules(self) -> None:
        for table in self._cloud.tables.values():
            for body in table.values():
                for rule in self.foreign:
                    if (
                        body.get("kind") == "compute#urlMap"
                        and body["name"] == "slipway-gateway"
                        and rule not in _rules(body)
                    ):
                        self._broken("a foreign rule in the URL map is gone")

    def _broken(self, why: str) -> None:
        self._simulation.break_off(why)


def _is_serving(machine: Instance, checks: list[Check], liveness: Check | None) -> bool:
    """Healthy to a backend service; in a group that no service knows yet, to the group's own
    check."""
    if not machine.is_running:
        return False
    if not checks:
        return machine.alive(liveness)[0] == "HEALTHY"
    is_staying = not machine.is_draining and machine.action != "DELETING"
    return is_staying and any(machine.ready(check) == "HEALTHY" for check in checks)


def _rules(url_map: Mapping[str, Any]) -> list[Any]:
    return [
        rule for matcher in url_map.get("pathMatchers", []) for rule in matcher.get("pathRules", [])
    ]


def _floor_of(spec: Mapping[str, Any]) -> int:
    """What must serve at least: the fewest instances, less those that the release itself allows to
    be missing."""
    unavailable = spec["rollout"]["unavailable"]
    if unavailable:
        unavailable = max(unavailable, 3) if not spec["rollout"]["surge"] or unavailable >= 3 else 0
    floor: int = spec["scaling"]["min"] - unavailable
    return floor


def _last(url: str) -> str:
    return url.rpartition("/")[2]
