"""Legacy HTTP health checks, which Libcloud creates. Backend services accept them like the
others.

Source: Compute API reference, httpHealthChecks.
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.health_checks import NUMBERS
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.groups import on_health_check_written
from compute_emulator.errors import Invalid, JsonObject

HANDLERS = Handlers()


def complete(call: Call, resource: JsonObject) -> None:
    resource.setdefault("description", "")
    resource.setdefault("host", "")
    for name, (default, maximum) in NUMBERS.items():
        if not 1 <= resource.setdefault(name, default) <= maximum:
            raise Invalid(f"resource.{name}", resource[name], f"Must be between 1 and {maximum}.")
    if resource["timeoutSec"] > resource["checkIntervalSec"]:
        raise Invalid(
            "resource.timeoutSec",
            resource["timeoutSec"],
            "Must not be greater than checkIntervalSec.",
        )
    if not 1 <= resource.setdefault("port", 80) <= 65535:
        raise Invalid("resource.port", resource["port"], "Must be between 1 and 65535.")
    if not resource.setdefault("requestPath", "/").startswith("/"):
        raise Invalid("resource.requestPath", resource["requestPath"], "Must start with /.")


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="httpHealthChecks",
        word="http_health_check",
        schema="HttpHealthCheck",
        discovery=("httpHealthChecks",),
        complete=complete,
        on_write=lambda cloud, resource: on_health_check_written(
            cloud, cloud.key_of(resource["selfLink"])
        ),
    ),
)
