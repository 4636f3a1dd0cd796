"""SSL certificates, global and regional. Private keys are never returned.

A self-managed certificate shows the expiry and the names of its PEM text; text that is no
certificate is accepted, with a made-up expiry. A managed certificate is PROVISIONING until
`Cloud.certificate_seconds` have passed, then ACTIVE. At Google it takes up to 60 minutes, and a
load balancer that uses it. Source: load-balancing/docs/ssl-certificates/google-managed-certs.
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject, Required
from compute_emulator.keys import Key
from compute_emulator.rules import certificates

HANDLERS = Handlers()

LIFE_SECONDS = 90 * 86_400.0


def complete(call: Call, resource: JsonObject) -> None:
    self_managed = resource.get("selfManaged") or {}
    resource.setdefault("type", "MANAGED" if resource.get("managed") else "SELF_MANAGED")
    if resource["type"] == "MANAGED":
        domains = (resource.get("managed") or {}).get("domains") or []
        if not domains:
            raise Required("resource.managed.domains")
        resource["managed"]["domains"] = [domain.removesuffix(".") for domain in domains]
        _set_status(resource, "PROVISIONING")
        if call.cloud.certificate_seconds > 0:
            key = Key(call.scope, call.collection, resource["name"])
            _activate_later(call.cloud, key, resource["managed"])
        else:
            _activate(call.cloud, resource)
        return
    certificate = resource.get("certificate") or self_managed.get("certificate")
    if not certificate:
        raise Required("resource.certificate")
    private = resource.pop("privateKey", None) or self_managed.pop("privateKey", None)
    if not private:
        raise Required("resource.privateKey")
    call.cloud.private_keys[Key(call.scope, call.collection, resource["name"])] = private
    resource |= {"certificate": certificate, "selfManaged": {"certificate": certificate}}
    _describe(call.cloud, resource)


def _describe(cloud: Cloud, resource: JsonObject) -> None:
    """Expiry and names of a self-managed certificate."""
    try:
        found = certificates.read(resource["certificate"])
    except ValueError:
        resource["expireTime"] = cloud.timestamp(cloud.now() + LIFE_SECONDS)
        return
    resource["expireTime"] = cloud.timestamp(found.expires.timestamp())
    if found.names:
        resource["subjectAlternativeNames"] = list(found.names)


def _set_status(resource: JsonObject, status: str) -> None:
    managed = resource["managed"]
    managed |= {"status": status, "domainStatus": dict.fromkeys(managed["domains"], status)}


def _activate(cloud: Cloud, resource: JsonObject) -> None:
    _set_status(resource, "ACTIVE")
    resource["subjectAlternativeNames"] = resource["managed"]["domains"]
    resource["expireTime"] = cloud.timestamp(cloud.now() + LIFE_SECONDS)


def _activate_later(cloud: Cloud, key: Key, managed: JsonObject) -> None:
    def activate() -> None:
        found = cloud.find(key)
        if found is not None and found.get("managed") is managed:  # not deleted, nor made anew
            _activate(cloud, found)

    cloud.after(cloud.certificate_seconds, activate)


def on_delete(cloud: Cloud, resource: JsonObject) -> None:
    cloud.private_keys.pop(cloud.key_of(resource["selfLink"]), None)


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="sslCertificates",
        word="ssl_certificate",
        schema="SslCertificate",
        discovery=("sslCertificates", "regionSslCertificates"),
        complete=complete,
        on_delete=on_delete,
    ),
)
