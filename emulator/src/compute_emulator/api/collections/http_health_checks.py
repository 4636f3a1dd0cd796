"""Legacy HTTP health checks, which Libcloud creates. Backend services accept them like the
others.

Source: Compute API reference, httpHealthChecks.
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.health_checks import complete_numbers, on_write
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.errors import Invalid, JsonObject

HANDLERS = Handlers()


def complete(call: Call, resource: JsonObject) -> None:
    resource.setdefault("description", "")
    resource.setdefault("host", "")
    complete_numbers(resource)
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
        on_write=on_write,
    ),
)
