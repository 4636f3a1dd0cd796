"""Target HTTP proxies, global and regional: they connect a forwarding rule to a URL map."""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers, set_members
from compute_emulator.errors import Invalid, JsonObject, Required

HANDLERS = Handlers()


def complete(call: Call, resource: JsonObject) -> None:
    resource["urlMap"] = url_map(call, resource.get("urlMap"), "resource.urlMap")
    check_keep_alive(resource)


def check_keep_alive(resource: JsonObject) -> None:
    seconds = resource.get("httpKeepAliveTimeoutSec")
    if seconds is not None and not 5 <= seconds <= 1200:
        raise Invalid("resource.httpKeepAliveTimeoutSec", seconds, "Must be between 5 and 1200.")


def url_map(call: Call, given: object, where: str) -> str:
    """The self link of a URL map in the call's scope."""
    if not given:
        raise Required(where)
    key = call.cloud.resolve(where, given, "urlMaps")
    if key.scope != call.scope:
        raise Invalid(where, given, "The proxy and its URL map must be in the same scope.")
    return call.cloud.link(*key)


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="targetHttpProxies",
        word="target_http_proxy",
        schema="TargetHttpProxy",
        discovery=("targetHttpProxies", "regionTargetHttpProxies"),
        complete=complete,
        fingerprint="if_given",
    ),
)


@HANDLERS.handles(
    "compute.targetHttpProxies.setUrlMap",
    "compute.regionTargetHttpProxies.setUrlMap",
    "compute.targetHttpsProxies.setUrlMap",
    "compute.regionTargetHttpsProxies.setUrlMap",
)
def set_url_map(call: Call) -> JsonObject:
    return set_members(call, urlMap=url_map(call, call.body.get("urlMap"), "resource.urlMap"))
