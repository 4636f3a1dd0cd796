"""Target HTTPS proxies, global and regional: as HTTP ones, with certificates."""

from __future__ import annotations

from collections.abc import Iterable

from compute_emulator.api.call import Call, handles
from compute_emulator.api.collections.standard import Kind, register
from compute_emulator.api.collections.target_http_proxies import url_map
from compute_emulator.errors import Invalid, JsonObject, Required

MOST_CERTIFICATES = 15


def complete(call: Call, resource: JsonObject) -> None:
    resource["urlMap"] = url_map(call, resource.get("urlMap"), "resource.urlMap")
    resource.setdefault("quicOverride", "NONE")
    if not resource.get("certificateMap") and not resource.get("serverTlsPolicy"):
        _certificates(call, resource)


def _certificates(call: Call, resource: JsonObject) -> None:
    given = resource.get("sslCertificates") or []
    where = "resource.sslCertificates"
    if not given:
        raise Required(where)
    if len(given) > MOST_CERTIFICATES:
        raise Invalid(where, len(given), f"At most {MOST_CERTIFICATES} certificates are allowed.")
    resource["sslCertificates"] = [
        call.cloud.link(*call.cloud.refer(f"{where}[{index}]", url, "sslCertificates"))
        for index, url in enumerate(given)
    ]


def references(resource: JsonObject) -> Iterable[str]:
    return [resource["urlMap"], *(resource.get("sslCertificates") or [])]


register(
    Kind(
        collection="targetHttpsProxies",
        word="target_https_proxy",
        schema="TargetHttpsProxy",
        discovery=("targetHttpsProxies", "regionTargetHttpsProxies"),
        complete=complete,
        references=references,
        fingerprint="if_given",
    )
)


@handles(
    "compute.targetHttpsProxies.setSslCertificates",
    "compute.regionTargetHttpsProxies.setSslCertificates",
)
def set_ssl_certificates(call: Call) -> JsonObject:
    proxy = call.resource_to_change()
    changed = {"sslCertificates": call.body.get("sslCertificates")}
    _certificates(call, changed)
    proxy |= {**changed, "fingerprint": call.cloud.new_fingerprint()}
    return call.operation()


@handles("compute.targetHttpsProxies.setQuicOverride")
def set_quic_override(call: Call) -> JsonObject:
    return _set(call, "quicOverride")


@handles("compute.targetHttpsProxies.setSslPolicy")
def set_ssl_policy(call: Call) -> JsonObject:
    return _set(call, "sslPolicy")


@handles("compute.targetHttpsProxies.setCertificateMap")
def set_certificate_map(call: Call) -> JsonObject:
    return _set(call, "certificateMap")


def _set(call: Call, member: str) -> JsonObject:
    """Kept as it is given, cleared when nothing is."""
    proxy = call.resource_to_change()
    proxy.pop(member, None)
    if call.body.get(member):
        proxy[member] = call.body[member]
    proxy["fingerprint"] = call.cloud.new_fingerprint()
    return call.operation()
