"""A gateway: an address, forwarding rules, proxies, a URL map, and a default backend service
without backends. Pure.

Models share one, and `traffic.gateway` names others. The first exposed model inserts it, and no
model deletes it. Requests that match no route go to the empty backend service and get an error.
Only three things are repaired: a proxy's URL map, a rule's target, and that a named certificate is
in the list. The list's other certificates and the map's default service are left as they are.

    default backend service ──> url map ──> proxy ──> forwarding rule
                                         address ──┘
"""

from __future__ import annotations

from functools import lru_cache

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource, Key
from infra.fleet.naming import SHARED, Gateway
from infra.fleet.resources.backend_service import SCHEME
from infra.fleet.resources.drift import Changes, differences, is_same
from rollout.model import Problem

MAX_CERTIFICATES = 15


@lru_cache(maxsize=256)
def desired(certificate: str | None, gateway: Gateway = SHARED) -> tuple[DesiredResource, ...]:
    """The gateway's parts. Those for HTTPS exist only if a certificate is named."""
    plain = (
        _part(gateway.address, {"ipVersion": "IPV4"}),
        _part(gateway.default, {"loadBalancingScheme": SCHEME, "protocol": "HTTP"}),
        _part(
            gateway.url_map,
            {"defaultService": naming.reference(gateway.default)},
            gateway.default,
        ),
        _part(gateway.http_proxy, {"urlMap": naming.reference(gateway.url_map)}, gateway.url_map),
        _rule(gateway.http_rule, gateway.http_proxy, "80", gateway.address),
    )
    if not certificate:
        return plain
    proxy = {"urlMap": naming.reference(gateway.url_map), "sslCertificates": [certificate]}
    return (
        *plain,
        _part(gateway.https_proxy, proxy, gateway.url_map),
        _rule(gateway.https_rule, gateway.https_proxy, "443", gateway.address),
    )


def keys(certificate: str | None, gateway: Gateway = SHARED) -> tuple[Key, ...]:
    return tuple(part.key for part in desired(certificate, gateway))


def _part(key: Key, body: Body, *after: Key) -> DesiredResource:
    named = {"name": key.name, "description": naming.GATEWAY_DESCRIPTION} | body
    return DesiredResource(
        key, named, after, f"the gateway's {key.collection} {key.name} does not exist yet"
    )


def _rule(key: Key, proxy: Key, port: str, address: Key) -> DesiredResource:
    body = {
        "target": naming.reference(proxy),
        "portRange": port,
        "IPProtocol": "TCP",
        "IPAddress": naming.reference(address),
        "loadBalancingScheme": SCHEME,
        "networkTier": "PREMIUM",
    }
    return _part(key, body, proxy, address)


def is_part(key: Key) -> bool:
    """Whether a key is one of a gateway's shared parts."""
    return naming.gateway_of(key) is not None


def drift(desired: Body, observed: Body) -> Changes:
    """How a shared part differs in the managed fields. `IPAddress` is not compared: a rule returns
    the number and not the reference.
    """
    managed = {
        field: value
        for field, value in desired.items()
        if field in ("urlMap", "target", "portRange", "loadBalancingScheme", "protocol")
    }
    changes = differences(managed, observed)
    missing = [each for each in desired.get("sslCertificates", []) if not _has(observed, each)]
    if missing:
        changes["sslCertificates"] = (observed.get("sslCertificates"), missing)
    return changes


def _has(observed: Body, certificate: str) -> bool:
    return any(
        is_same("sslCertificates", certificate, each)
        for each in observed.get("sslCertificates", [])
    )


def update(desired: DesiredResource, observed: Body) -> tuple[Action | Problem, ...]:
    """Repairs proxies and rules. What the API cannot change in place is reported."""
    body = desired.body
    changes = drift(body, observed)
    fingerprint = observed.get("fingerprint", "")
    match desired.key.collection:
        case _ if not changes:
            return ()
        case "globalForwardingRules" if set(changes) == {"target"}:
            why = f"forwarding rule {desired.key.name} does not lead to the gateway's proxy"
            target = {"target": body["target"]}
            return (Action(desired.key, "setTarget", target, why, based_on=fingerprint),)
        case "targetHttpProxies" | "targetHttpsProxies":
            return _proxy(desired, observed, changes, fingerprint)
    message = (
        f"{desired.key.collection} {desired.key.name} differs in {', '.join(changes)} and cannot be"
        " changed in place; delete it, and Slipway inserts it again"
    )
    return (Problem("config", "CANNOT_CHANGE_IN_PLACE", message),)


def _proxy(
    desired: DesiredResource, observed: Body, changes: Changes, fingerprint: str
) -> tuple[Action | Problem, ...]:
    patch: Body = {"fingerprint": fingerprint} if fingerprint else {}
    reasons = []
    if "urlMap" in changes:
        patch["urlMap"] = changes["urlMap"][1]
        reasons.append(f"proxy {desired.key.name} does not lead to the gateway's URL map")
    if "sslCertificates" in changes:
        present, missing = changes["sslCertificates"]
        patch["sslCertificates"] = [*(present or []), *missing]
        reasons.append(
            f"proxy {desired.key.name} does not have certificate {naming.last(missing[0])} yet"
        )
        if len(patch["sslCertificates"]) > MAX_CERTIFICATES:
            message = (
                f"proxy {desired.key.name} has {len(present)} certificates and can have at most"
                f" {MAX_CERTIFICATES}; remove one that is not used"
            )
            return (Problem("config", "TOO_MANY_CERTIFICATES", message),)
    return (Action(desired.key, "patch", patch, "; ".join(reasons), based_on=fingerprint),)
