"""Firewall rules: stored and returned, not enforced. Every load balancing tutorial creates one."""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.errors import Invalid, JsonObject

HANDLERS = Handlers()


def complete(call: Call, resource: JsonObject) -> None:
    resource.setdefault("network", call.cloud.link("global", "networks", "default"))
    resource.setdefault("priority", 1000)
    resource.setdefault("direction", "INGRESS")
    resource.setdefault("disabled", False)
    if bool(resource.get("allowed")) == bool(resource.get("denied")):
        raise Invalid("resource.allowed", "", "Exactly one of allowed and denied must be set.")


add_standard_handlers(HANDLERS, Kind("firewalls", "firewall", "Firewall", ("firewalls",), complete))
