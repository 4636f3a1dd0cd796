"""Health checks, global and regional. Source: Compute API reference, healthChecks."""

from __future__ import annotations

import re

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import on_health_check_written
from compute_emulator.errors import Invalid, JsonObject, Required

HANDLERS = Handlers()

MEMBERS = {
    "TCP": "tcpHealthCheck",
    "SSL": "sslHealthCheck",
    "HTTP": "httpHealthCheck",
    "HTTPS": "httpsHealthCheck",
    "HTTP2": "http2HealthCheck",
    "GRPC": "grpcHealthCheck",
    "GRPC_WITH_TLS": "grpcTlsHealthCheck",
}
PORTS = {"TCP": 80, "HTTP": 80, "SSL": 443, "HTTPS": 443, "HTTP2": 443}
PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
"""A path with an optional query: RFC 3986."""
MAX_TEXT = 1024
NUMBERS = {
    "checkIntervalSec": (5, 300),
    "timeoutSec": (5, 300),
    "healthyThreshold": (2, 10),
    "unhealthyThreshold": (2, 10),
}
"""Default and maximum; the minimum is 1."""


def complete(call: Call, resource: JsonObject) -> None:
    kind = resource.get("type")
    if not kind:
        raise Required("resource.type")
    complete_numbers(resource)
    _check_probe(resource, kind)


def complete_numbers(resource: JsonObject) -> None:
    """Interval, timeout and thresholds, which all kinds of health checks have."""
    for name, (default, maximum) in NUMBERS.items():
        value = resource.setdefault(name, default)
        if not 1 <= value <= maximum:
            raise Invalid(f"resource.{name}", value, f"Must be between 1 and {maximum}.")
    if resource["timeoutSec"] > resource["checkIntervalSec"]:
        raise Invalid(
            "resource.timeoutSec",
            resource["timeoutSec"],
            "Must not be greater than checkIntervalSec.",
        )


def _check_probe(resource: JsonObject, kind: str) -> None:
    """Allows only the member of the check's own type, and fills in its defaults."""
    for other, member in MEMBERS.items():
        if other != kind and resource.pop(member, None):
            raise Invalid(f"resource.{member}", "", f"Not allowed with type {kind}.")
    probe = resource.setdefault(MEMBERS[kind], {})
    _check_port(probe, kind, f"resource.{MEMBERS[kind]}")
    if not kind.startswith("GRPC"):
        probe.setdefault("proxyHeader", "NONE")
    if kind.startswith("HTTP") and not PATH.fullmatch(probe.setdefault("requestPath", "/")):
        raise Invalid(
            f"resource.{MEMBERS[kind]}.requestPath",
            probe["requestPath"],
            "Must start with / and comply with RFC 3986.",
        )
    for name in ("request", "response"):
        text = probe.get(name) or ""
        if not text.isascii() or len(text) > MAX_TEXT:
            raise Invalid(
                f"resource.{MEMBERS[kind]}.{name}",
                text[:MAX_TEXT],
                f"Must be ASCII, at most {MAX_TEXT} bytes.",
            )


def _check_port(probe: JsonObject, kind: str, where: str) -> None:
    specification = probe.get("portSpecification")
    if specification == "USE_NAMED_PORT":
        raise Invalid(
            f"{where}.portSpecification",
            specification,
            "Must be USE_FIXED_PORT or USE_SERVING_PORT.",
        )
    if specification == "USE_SERVING_PORT":
        if "port" in probe:
            raise Invalid(f"{where}.port", probe["port"], "Must not be set with USE_SERVING_PORT.")
    elif kind in PORTS:
        probe.setdefault("port", PORTS[kind])
    elif "port" not in probe:
        raise Required(f"{where}.port")
    if not 1 <= probe.get("port", 1) <= 65535:
        raise Invalid(f"{where}.port", probe["port"], "Must be between 1 and 65535.")


def on_write(cloud: Cloud, resource: JsonObject) -> None:
    on_health_check_written(cloud, cloud.key_of(resource["selfLink"]))


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="healthChecks",
        word="health_check",
        schema="HealthCheck",
        discovery=("healthChecks", "regionHealthChecks"),
        complete=complete,
        on_write=on_write,
    ),
)
