"""Target HTTPS proxies, global and regional: like HTTP proxies, with certificates."""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.api.collections.target_http_proxies import url_map
from compute_emulator.errors import Invalid, JsonObject, Required

HANDLERS = Handlers()

MAX_CERTIFICATES = 15


def complete(call: Call, resource: JsonObject) -> None:
    resource["urlMap"] = url_map(call, resource.get("urlMap"), "resource.urlMap")
    resource.setdefault("quicOverride", "NONE")
    if not resource.get("certificateMap") and not resource.get("serverTlsPolicy"):
        _check_certificates(call, resource)


def _check_certificates(call: Call, resource: JsonObject) -> None:
    given = resource.get("sslCertificates") or []
    where = "resource.sslCertificates"
    if not given:
        raise Required(where)
    if len(given) > MAX_CERTIFICATES:
        raise Invalid(where, len(given), f"At most {MAX_CERTIFICATES} certificates are allowed.")
    resource["sslCertificates"] = [
        call.cloud.link(*call.cloud.resolve(f"{where}[{index}]", url, "sslCertificates"))
        for index, url in enumerate(given)
    ]


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="targetHttpsProxies",
        word="target_https_proxy",
        schema="TargetHttpsProxy",
        discovery=("targetHttpsProxies", "regionTargetHttpsProxies"),
        complete=complete,
        fingerprint="if_given",
    ),
)


@HANDLERS.handles(
    "compute.targetHttpsProxies.setSslCertificates",
    "compute.regionTargetHttpsProxies.setSslCertificates",
)
def set_ssl_certificates(call: Call) -> JsonObject:
    proxy = call.resource_to_change()
    changed = {"sslCertificates": call.body.get("sslCertificates")}
    _check_certificates(call, changed)
    proxy |= {**changed, "fingerprint": call.cloud.new_fingerprint()}
    return call.operation()


@HANDLERS.handles("compute.targetHttpsProxies.setQuicOverride")
def set_quic_override(call: Call) -> JsonObject:
    return _set(call, "quicOverride")


@HANDLERS.handles("compute.targetHttpsProxies.setSslPolicy")
def set_ssl_policy(call: Call) -> JsonObject:
    return _set(call, "sslPolicy")


@HANDLERS.handles("compute.targetHttpsProxies.setCertificateMap")
def set_certificate_map(call: Call) -> JsonObject:
    return _set(call, "certificateMap")


def _set(call: Call, member: str) -> JsonObject:
    """Stored as given, and cleared if nothing is given."""
    proxy = call.resource_to_change()
    proxy.pop(member, None)
    if call.body.get(member):
        proxy[member] = call.body[member]
    proxy["fingerprint"] = call.cloud.new_fingerprint()
    return call.operation()
