"""Acts on Compute Engine from outside Slipway: a workload's own steps and the world's faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from compute_emulator import Request
from tests.assurance.simulation.engine import BEHAVIOUR, Simulation
from tests.assurance.simulation.invariants import Invariants
from tests.assurance.simulation.schedule import Fault
from tests.assurance.simulation.workloads import IMAGE, NEVER, command, first

CANNOT_START: tuple[dict[str, Any], ...] = (
    NEVER,
    {"creation_error": {"kind": "config"}},
    {"creation_error": {"kind": "stock_out"}},
)
ZONE = "us-central1-a"
LOSSES = ("stop", "preempt", "recreate")
# A person's message at any moment, by a fault's number.
INTENTS: tuple[dict[str, Any], ...] = tuple(
    step.body
    for step in (
        first(version="9"),
        *(command(0.0, verb) for verb in ("abort", "pause", "promote", "rollback", "retire")),
        command(0.0, "rollback", version="1"),
        command(0.0, "resume"),
        command(0.0, "retry"),
        command(0.0, "promote", full=True),
    )
)


class Environment:
    def __init__(self, simulation: Simulation, invariants: Invariants) -> None:
        self.simulation, self.invariants = simulation, invariants
        self.emulator = simulation.emulator
        self.was_refused = False  # Compute Engine refused a step

    def take_step(self, step: str) -> None:
        """Takes a workload's step that is not a message."""
        steps: dict[str, Callable[[], None]] = {
            "load": self._add_load,
            "foreign_route": self._add_foreign_route,
            "limit": self._limit,
            "unlimit": self.emulator.quotas.clear,
            "stock_out": self._start_stock_out,
            "stock_in": self._end_stock_out,
            "break_stable": self._break_stable,
            "preempt": partial(self._lose, "preempt"),
            "recreate": partial(self._lose, "recreate"),
            "zone_down": partial(self._change_zone, ZONE, is_lost=True),
            "zone_up": partial(self._change_zone, ZONE, is_lost=False),
        }
        steps[step]()

    def _add_load(self) -> None:
        self.emulator.load["slipway-tiny-blue"] = {"cpu_demand": 2.9}

    def _add_foreign_route(self) -> None:
        """Another team adds a route for its host to the shared URL map."""
        url_map = self.emulator.find("urlMaps", "slipway-gateway", "global")
        if url_map is None:
            return  # no model serves; the oracles report it where one should
        service = url_map["defaultService"]
        rule = {"paths": ["/theirs"], "service": service}
        matcher = {"name": "theirs", "defaultService": service, "pathRules": [rule]}
        body = {
            "hostRules": [
                *url_map.get("hostRules", []),
                {"hosts": ["theirs.example.com"], "pathMatcher": "theirs"},
            ],
            "pathMatchers": [*url_map.get("pathMatchers", []), matcher],
        }
        if self._request("PATCH", "global/urlMaps/slipway-gateway", body) == 200:
            self.invariants.foreign_rules.append(rule)
        else:
            self.was_refused = True  # the map was not ready

    def _limit(self) -> None:
        """The quota allows no instance more than there are."""
        self.emulator.quotas["INSTANCES"] = float(len(self.emulator.instances()))

    def _start_stock_out(self) -> None:
        self.emulator.stock_outs["us-central1"] = {}

    def _end_stock_out(self) -> None:
        self.emulator.stock_outs.clear()

    def _break_stable(self, number: int = 0) -> None:
        """From now on the release that serves cannot start: its image does not answer any more, is
        gone, or its machine type is sold out.
        """
        document = self.invariants.documents.get("tiny")
        if document is None or document["stable"] is None:
            return
        self.invariants.excused |= {*self.invariants.models}
        how = CANNOT_START[number % len(CANNOT_START)]
        image = f"*{IMAGE}:{document['stable']['version']}*"
        self.emulator.set_behaviours(
            [{"image": image, **BEHAVIOUR, **how}, *self.emulator.behaviours]
        )

    def inject(self, fault: Fault) -> None:
        """Injects one of the world's faults, unless the run has been healed."""
        simulation = self.simulation
        if simulation.is_healed:
            return
        simulation.injected[fault.kind] += 1
        simulation.note(f"{fault.kind} {fault.on} {fault.code}")
        match fault.kind:
            case "zone_loss" | "zone_restored":
                self._change_zone(f"us-central1-{fault.on}", is_lost=fault.kind == "zone_loss")
            case "stable_breaks":
                self._break_stable(int(fault.code or 0))
            case "capacity":
                self.emulator.quotas["INSTANCES"] = float(int(fault.code or 0))
            case "load":
                self.emulator.load["slipway-tiny-blue"] = {
                    "cpu": 0.05 + 0.13 * int(fault.code or 0)
                }
            case "preempt" | "unhealthy":
                number = int(fault.code or 0) % len(LOSSES)
                self._lose("unready" if fault.kind == "unhealthy" else LOSSES[number], fault.times)
            case "intent":
                body = INTENTS[int(fault.code or 0) % len(INTENTS)]
                simulation.publish("model-releases", json.dumps(body).encode())
            case "slow_operations":
                self.emulator.operation_seconds = fault.seconds
            case "operator":
                self._act_as_operator(int(fault.code or 0))
        self.emulator.advance()

    def _lose(self, how: str, count: int = 1) -> None:
        """Takes instances: without a reason, as preemptions, or a person recreates them. Or their
        application stops answering.
        """
        self.invariants.excused |= {*self.invariants.models}
        if how == "recreate":
            for each in self.emulator.instances()[:count]:
                body = {"instances": [f"zones/{each['zone']}/instances/{each['name']}"]}
                group = f"regions/us-central1/instanceGroupManagers/{each['group']}"
                self._request("POST", f"{group}/recreateInstances", body)
        elif how == "unready":
            self.emulator.affect_instances("unready", most=count)
        elif how == "stop" or not self.emulator.affect_instances("preempt", most=count):
            self.emulator.affect_instances("stop", most=count)

    def _change_zone(self, zone: str, *, is_lost: bool) -> None:
        if is_lost:
            self.invariants.excused |= {*self.invariants.models}
        self.emulator.set_zone_state(zone, "DOWN" if is_lost else "UP")

    def _act_as_operator(self, number: int) -> None:
        """Changes a resource as a person at the console would, through the same API."""
        region = "regions/us-central1/"
        group, scaler = (
            f"{region}instanceGroupManagers/slipway-tiny-blue",
            f"{region}autoscalers/slipway-tiny-blue",
        )
        choices: list[tuple[str, str, Any]] = [
            ("PATCH", group, {"updatePolicy": {"maxSurge": {"fixed": 9}}}),
            (
                "PATCH",
                f"{region}autoscalers?autoscaler=slipway-tiny-blue",
                {"autoscalingPolicy": {"maxNumReplicas": 5, "mode": "OFF"}},
            ),
            ("DELETE", scaler, None),
            (
                "PATCH",
                "global/healthChecks/slipway-tiny-blue-lb",
                {"type": "HTTP", "checkIntervalSec": 30},
            ),
            ("PATCH", "global/backendServices/slipway-tiny-blue", {"timeoutSec": 7}),
            ("PATCH", "global/urlMaps/slipway-gateway", {"pathMatchers": [], "hostRules": []}),
            ("PATCH", group, {"autoHealingPolicies": []}),
            ("POST", f"{group}/resize?size=4", None),
        ]
        http, path, body = choices[number % len(choices)]
        if path.endswith("slipway-gateway"):
            self.invariants.foreign_rules.clear()
        self.invariants.excused |= {*self.invariants.models}
        self._request(http, path, body)

    def _request(self, http: str, path: str, body: Any) -> int:
        data = json.dumps(body).encode() if body is not None else b""
        answered = self.emulator.handle(Request(http, f"/compute/v1/projects/demo/{path}", data))
        self.simulation.note(f"outside Slipway: {http} {path}: {answered.status}")
        return answered.status
