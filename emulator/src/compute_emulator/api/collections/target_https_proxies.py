"""Target HTTPS proxies, global and regional: like HTTP proxies, with certificates."""

from __future__ import annotations

import re

from compute_emulator import keys
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers, set_members
from compute_emulator.api.collections.target_http_proxies import check_keep_alive, url_map
from compute_emulator.errors import ConditionNotMet, Invalid, JsonObject

HANDLERS = Handlers()

MAX_CERTIFICATES, MAX_MANAGER_CERTIFICATES = 15, 100
MANAGER_CERTIFICATE = re.compile(
    r"(?:https:)?//certificatemanager\.googleapis\.com/(?:v1/)?"
    r"(projects/[^/]+/locations/[^/]+/certificates/[^/]+)"
)

NO_CERTIFICATE = (
    "Certificate Map or at least 1 SSL certificate must be specified for setting SSL certificates"
    " in TargetHttpsProxy."
)


def complete(call: Call, resource: JsonObject) -> None:
    resource["urlMap"] = url_map(call, resource.get("urlMap"), "resource.urlMap")
    check_keep_alive(resource)
    call.cloud.full_links(resource, "sslPolicy")
    resource.setdefault("tlsEarlyData", "DISABLED")
    if call.scope == keys.GLOBAL:
        resource.setdefault("quicOverride", "NONE")
    if resource.get("sslCertificates"):
        _check_certificates(call, resource)
    elif not resource.get("certificateMap") and not resource.get("serverTlsPolicy"):
        raise Invalid(
            "resource.sslCertificates",
            "",
            "At least 1 SSL certificate must be specified for TargetHttpsProxy creation.",
        )


def _check_certificates(call: Call, resource: JsonObject) -> None:
    """Replaces the certificates by their links. They are of one kind: classic ones, or those of
    Certificate Manager.
    """
    given, where = resource["sslCertificates"], "resource.sslCertificates"
    of_manager = [url for url in given if MANAGER_CERTIFICATE.fullmatch(url)]
    if of_manager and len(of_manager) < len(given):
        raise Invalid(
            where,
            ", ".join(given),
            "Mixing Classic Certificates and Certificate Manager Certificates is not allowed.",
        )
    maximum = MAX_MANAGER_CERTIFICATES if of_manager else MAX_CERTIFICATES
    if len(given) > maximum:
        raise Invalid(where, len(given), f"At most {maximum} certificates are allowed.")
    resource["sslCertificates"] = [
        _certificate(call, url, f"{where}[{index}]") for index, url in enumerate(given)
    ]


def _certificate(call: Call, url: str, where: str) -> str:
    """The link of a certificate. Those of Certificate Manager are not modelled, so any is there."""
    managed = MANAGER_CERTIFICATE.fullmatch(url)
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
    if changed["sslCertificates"]:
        _check_certificates(call, changed)
    elif not call.resource().get("certificateMap"):
        raise ConditionNotMet(NO_CERTIFICATE)
    return set_members(call, **changed)


@HANDLERS.handles("compute.targetHttpsProxies.setQuicOverride")
def set_quic_override(call: Call) -> JsonObject:
    return set_members(call, quicOverride=call.body.get("quicOverride"))


@HANDLERS.handles("compute.targetHttpsProxies.setSslPolicy")
def set_ssl_policy(call: Call) -> JsonObject:
    changed = {"sslPolicy": call.body.get("sslPolicy")}
    call.cloud.full_links(changed, "sslPolicy")
    return set_members(call, **changed)


@HANDLERS.handles("compute.targetHttpsProxies.setCertificateMap")
def set_certificate_map(call: Call) -> JsonObject:
    return set_members(call, certificateMap=call.body.get("certificateMap"))
