"""Target HTTPS proxies, global and regional: like HTTP proxies, with certificates."""

from __future__ import annotations

import re

from compute_emulator import keys
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers, set_members
from compute_emulator.api.collections.target_http_proxies import url_map
from compute_emulator.errors import Invalid, JsonObject, Required

HANDLERS = Handlers()

MAX_CERTIFICATES = 15
MANAGED_CERTIFICATE = re.compile(
    r"(?:https:)?//certificatemanager\.googleapis\.com/(?:v1/)?"
    r"(projects/[^/]+/locations/[^/]+/certificates/[^/]+)"
)


def complete(call: Call, resource: JsonObject) -> None:
    resource["urlMap"] = url_map(call, resource.get("urlMap"), "resource.urlMap")
    resource.setdefault("tlsEarlyData", "DISABLED")
    if call.scope == keys.GLOBAL:
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
        _certificate(call, url, f"{where}[{index}]") for index, url in enumerate(given)
    ]


def _certificate(call: Call, url: str, where: str) -> str:
    """The link of a certificate. Those of Certificate Manager are not modelled, so any is there."""
    managed = MANAGED_CERTIFICATE.fullmatch(url)
    if managed is not None:
        return f"//certificatemanager.googleapis.com/{managed[1]}"
    return call.cloud.link(*call.cloud.resolve(where, url, "sslCertificates"))


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="targetHttpsProxies",
        word="target_https_proxy",
        schema="TargetHttpsProxy",
        discovery=("targetHttpsProxies", "regionTargetHttpsProxies"),
        complete=complete,
        fingerprint="if_given",
        patch_fingerprint="required",
    ),
)


@HANDLERS.handles(
    "compute.targetHttpsProxies.setSslCertificates",
    "compute.regionTargetHttpsProxies.setSslCertificates",
)
def set_ssl_certificates(call: Call) -> JsonObject:
    changed = {"sslCertificates": call.body.get("sslCertificates")}
    _check_certificates(call, changed)
    return set_members(call, **changed)


@HANDLERS.handles("compute.targetHttpsProxies.setQuicOverride")
def set_quic_override(call: Call) -> JsonObject:
    return set_members(call, quicOverride=call.body.get("quicOverride"))


@HANDLERS.handles("compute.targetHttpsProxies.setSslPolicy")
def set_ssl_policy(call: Call) -> JsonObject:
    return set_members(call, sslPolicy=call.body.get("sslPolicy"))


@HANDLERS.handles("compute.targetHttpsProxies.setCertificateMap")
def set_certificate_map(call: Call) -> JsonObject:
    return set_members(call, certificateMap=call.body.get("certificateMap"))
