"""Target HTTP proxies, global and regional: what a forwarding rule points at and what holds the URL
map."""

from __future__ import annotations

from collections.abc import Iterable

from compute_emulator.api.call import Call, handles
from compute_emulator.api.collections.standard import Kind, register
from compute_emulator.errors import Invalid, JsonObject, Required


def complete(call: Call, resource: JsonObject) -> None:
    resource["urlMap"] = url_map(call, resource.get("urlMap"), "resource.urlMap")


def url_map(call: Call, given: object, where: str) -> str:
    """The self link of a URL map of the call's own scope."""
    if not given:
        raise Required(where)
    key = call.cloud.refer(where, given, "urlMaps")
    if key.scope != call.scope:
        raise Invalid(where, given, "The proxy and its URL map must be of one scope.")
    return call.cloud.link(*key)


def references(resource: JsonObject) -> Iterable[str]:
    return [resource["urlMap"]]


register(
    Kind(
        collection="targetHttpProxies",
        word="target_http_proxy",
        schema="TargetHttpProxy",
        discovery=("targetHttpProxies", "regionTargetHttpProxies"),
        complete=complete,
        references=references,
        fingerprint="if_given",
    )
)


@handles(
    "compute.targetHttpProxies.setUrlMap",
    "compute.regionTargetHttpProxies.setUrlMap",
    "compute.targetHttpsProxies.setUrlMap",
    "compute.regionTargetHttpsProxies.setUrlMap",
)
def set_url_map(call: Call) -> JsonObject:
    proxy = call.resource_to_change()
    proxy["urlMap"] = url_map(call, call.body.get("urlMap"), "resource.urlMap")
    proxy["fingerprint"] = call.cloud.new_fingerprint()
    return call.operation()
