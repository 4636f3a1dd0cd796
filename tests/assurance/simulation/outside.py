"""What people and the world do beside Slipway in a run: a workload's own steps, and the faults that
befall the world."""

from __future__ import annotations

import json
from typing import Any

from compute_emulator.api.wire import Request, handle
from compute_emulator.control.instances import apply_effect
from compute_emulator.keys import Key
from tests.assurance.simulation.engine import Simulation
from tests.assurance.simulation.rules import Rules
from tests.assurance.simulation.schedule import Fault


class Outside:
    def __init__(self, simulation: Simulation, rules: Rules) -> None:
        self.simulation, self.rules = simulation, rules
        self.cloud = simulation.cloud
        self.was_refused = False  # a step was, by Compute Engine

    def do(self, step: str) -> None:
        """A step of a workload that is no message."""
        {
            "load": self._load,
            "others": self._others,
            "stock_out": self._stock_out,
            "stock_in": self._stock_in,
        }[step]()

    def _load(self) -> None:
        self.cloud.load["tiny-blue"] = {"cpu_demand": 2.9}

    def _others(self) -> None:
        """Another team gives its host a route of its own in the shared URL map."""
        held = self.cloud.find(Key("global", "urlMaps", "slipway-gateway"))
        if held is None:
            return  # nothing serves, which the end will show where it may not be
        rule = {"paths": ["/theirs"], "service": held["defaultService"]}
        matcher = {"name": "theirs", "defaultService": held["defaultService"], "pathRules": [rule]}
        asked = {
            "hostRules": [
                *held.get("hostRules", []),
                {"hosts": ["theirs.example.com"], "pathMatcher": "theirs"},
            ],
            "pathMatchers": [*held.get("pathMatchers", []), matcher],
        }
        if self._ask("PATCH", "global/urlMaps/slipway-gateway", asked) == 200:
            self.rules.foreign.append(rule)
        else:
            self.was_refused = True  # the map was not ready

    def _stock_out(self) -> None:
        self.cloud.stock_outs["us-central1"] = {}

    def _stock_in(self) -> None:
        self.cloud.stock_outs.clear()

    def disturb(self, fault: Fault) -> None:
        """A fault that befalls the world. After everything has been mended none does."""
        simulation, zone = self.simulation, f"us-central1-{fault.on}"
        if simulation.is_healed:
            return
        simulation.struck[fault.kind] += 1
        simulation.note(f"{fault.kind} {fault.on} {fault.code}")
        match fault.kind:
            case "zone_loss":
                self.rules.excused |= {*self.rules.models}
                self.cloud.stock_outs[zone] = {}
                apply_effect(self.cloud, "stop", zone=zone)
            case "zone_back":
                self.cloud.stock_outs.pop(zone, None)
            case "capacity":
                self.cloud.quotas["INSTANCES"] = float(int(fault.code or 0))
            case "load":
                self.cloud.load["tiny-blue"] = {"cpu": 0.05 + 0.13 * int(fault.code or 0)}
            case "preempt":
                self.rules.excused |= {*self.rules.models}
                apply_effect(self.cloud, "stop", most=fault.times)
            case "sicken":
                self.rules.excused |= {*self.rules.models}
                apply_effect(self.cloud, "unready", most=fault.times)
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
            (
                "PATCH",
                f"{region}autoscalers?autoscaler=tiny-blue",
                {"autoscalingPolicy": {"maxNumReplicas": 5, "mode": "OFF"}},
            ),
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
        self.rules.excused |= {*self.rules.models}
        self._ask(http, path, body)

    def _ask(self, http: str, path: str, body: Any) -> int:
        data = json.dumps(body).encode() if body is not None else b""
        answered = handle(self.cloud, Request(http, f"/compute/v1/projects/demo/{path}", data))
        self.simulation.note(f"somebody: {http} {path}: {answered.status}")
        return answered.status
