"""SSL certificates, global and regional. Managed ones are active at once; private keys are never
returned."""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject, Required
from compute_emulator.keys import Key

HANDLERS = Handlers()

LIFE_SECONDS = 90 * 86_400.0


def complete(call: Call, resource: JsonObject) -> None:
    self_managed = resource.get("selfManaged") or {}
    resource.setdefault("type", "MANAGED" if resource.get("managed") else "SELF_MANAGED")
    resource["expireTime"] = call.cloud.timestamp(call.cloud.now() + LIFE_SECONDS)
    if resource["type"] == "MANAGED":
        domains = (resource.get("managed") or {}).get("domains") or []
        if not domains:
            raise Required("resource.managed.domains")
        resource["managed"] |= {
            "status": "ACTIVE",
            "domainStatus": dict.fromkeys(domains, "ACTIVE"),
        }
        resource["subjectAlternativeNames"] = domains
        return
    certificate = resource.get("certificate") or self_managed.get("certificate")
    if not certificate:
        raise Required("resource.certificate")
    private = resource.pop("privateKey", None) or self_managed.pop("privateKey", None)
    if not private:
        raise Required("resource.privateKey")
    call.cloud.private_keys[Key(call.scope, call.collection, resource["name"])] = private
    resource |= {"certificate": certificate, "selfManaged": {"certificate": certificate}}


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
