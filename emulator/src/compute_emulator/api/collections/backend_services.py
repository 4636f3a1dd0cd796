"""Backend services, global and regional, and the health of their backends.

Source: Compute API reference, backendServices; load-balancing/docs/backend-service.
"""

from __future__ import annotations

import hashlib
import re
from functools import partial

from compute_emulator import keys
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers, set_members
from compute_emulator.engine.backends import group_health
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import on_backend_service_written
from compute_emulator.errors import Invalid, JsonObject, Required
from compute_emulator.keys import Key

HANDLERS = Handlers()

CHECKS = ("healthChecks", "httpHealthChecks")
GROUPS = ("instanceGroups", "networkEndpointGroups")
HTTP_PROTOCOLS = ("HTTP", "HTTPS", "HTTP2", "H2C", "GRPC")
MANAGED_SCHEMES = ("EXTERNAL_MANAGED", "INTERNAL_MANAGED")
"""Schemes of Application Load Balancers: a regional one takes regional health checks. The older
passthrough load balancers take either."""
NOT_APPLICATION = {
    "localityLbPolicy": (
        "INVALID_LB_POLICY",
        "ORIGINAL_DESTINATION",
        "WEIGHTED_GCP_RENDEZVOUS",
        "WEIGHTED_MAGLEV",
    ),
    "sessionAffinity": ("CLIENT_IP_PORT_PROTO", "CLIENT_IP_PROTO"),
}
"""Values for other kinds of load balancers than Application Load Balancers."""
MAX_COOKIE_SECONDS = 1_209_600
DEFAULTS = {
    "description": "",
    "loadBalancingScheme": "EXTERNAL",
    "timeoutSec": 30,
    "sessionAffinity": "NONE",
}
PROXY_DEFAULTS = {
    "protocol": "HTTP",
    "port": 80,
    "portName": "http",
    "affinityCookieTtlSec": 0,
}
"""Of all but the internal passthrough load balancer. `port` is reported, whatever the protocol, and
not used."""
LOG_DEFAULTS = {"sampleRate": 1, "optionalMode": "EXCLUDE_ALL_OPTIONAL"}
"""Once logging is enabled."""
CDN_SCHEMES = ("EXTERNAL", "EXTERNAL_MANAGED")
DEFAULT_CACHE_SECONDS = "3600"
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
RESERVED_HEADERS = frozenset(
    [
        "x-user-ip",
        "cdn-loop",
        "keep-alive",
        "transfer-encoding",
        "te",
        "connection",
        "trailer",
        "upgrade",
    ]
)
RESERVED_PREFIXES = ("x-google", "x-goog-", "x-gfe", "x-amz-")
PROJECT_IN_TLS_POLICY = re.compile(r"(?<=^//networksecurity\.googleapis\.com/projects/)[^/]+")


def complete(call: Call, resource: JsonObject) -> None:
    _fill_in(call, resource)
    draining = resource.setdefault("connectionDraining", {}).setdefault("drainingTimeoutSec", 0)
    if not 0 <= draining <= 3600:
        raise Invalid(
            "resource.connectionDraining.drainingTimeoutSec",
            draining,
            "Must be between 0 and 3600.",
        )
    _check_ranges(resource)
    for name in ("customRequestHeaders", "customResponseHeaders"):
        _check_headers(resource.get(name) or [], f"resource.{name}")
    if _is_application(resource):
        for name, values in NOT_APPLICATION.items():
            if resource.get(name) in values:
                raise Invalid(
                    f"resource.{name}",
                    resource[name],
                    "Not supported by Application Load Balancers.",
                )
    if resource.get("network") and resource["loadBalancingScheme"] not in ("INTERNAL", "EXTERNAL"):
        raise Invalid(
            "resource.network",
            resource["network"],
            "Only allowed with load balancing scheme INTERNAL, and EXTERNAL with haPolicy.",
        )
    _check_health_checks(call, resource)
    seen: set[Key] = set()
    for index, backend in enumerate(resource.get("backends") or []):
        _check_backend(call, resource, backend, f"resource.backends[{index}]", seen)


def _fill_in(call: Call, resource: JsonObject) -> None:
    """The members that the API adds or rewrites."""
    for name, default in DEFAULTS.items():
        resource.setdefault(name, default)
    if resource["loadBalancingScheme"] == "INTERNAL":
        resource.setdefault("protocol", "TCP")
    else:
        for name, value in PROXY_DEFAULTS.items():
            resource.setdefault(name, value)
    if resource["loadBalancingScheme"] in CDN_SCHEMES:
        resource.setdefault("enableCDN", False)
    log = resource.get("logConfig") or {}
    if log.get("enable"):
        for name, value in LOG_DEFAULTS.items():
            log.setdefault(name, value)
    call.cloud.full_links(resource, "network")
    iap = resource.get("iap") or {}
    if "oauth2ClientSecret" in iap:
        secret = iap.pop("oauth2ClientSecret")
        iap["oauth2ClientSecretSha256"] = hashlib.sha256(secret.encode()).hexdigest()
    security = resource.get("securitySettings") or {}
    if security.get("clientTlsPolicy"):
        security["clientTlsPolicy"] = PROJECT_IN_TLS_POLICY.sub(
            keys.PROJECT_NUMBER, security["clientTlsPolicy"]
        )


def _check_ranges(resource: JsonObject) -> None:
    """The ranges that the reference states."""
    timeout, cookie = resource["timeoutSec"], resource.get("affinityCookieTtlSec", 0)
    if timeout < 1:
        raise Invalid("resource.timeoutSec", timeout, "Must be between 1 and 2147483647.")
    if not 0 <= cookie <= MAX_COOKIE_SECONDS:
        where = "resource.affinityCookieTtlSec"
        raise Invalid(where, cookie, f"Must be between 0 and {MAX_COOKIE_SECONDS}.")
    log = resource.get("logConfig") or {}
    rate = log.get("sampleRate", 1)
    if not 0 <= rate <= 1:
        raise Invalid("resource.logConfig.sampleRate", rate, "Must be between 0 and 1.")
    if log.get("optionalFields") and log.get("optionalMode") != "CUSTOM":
        where = "resource.logConfig.optionalFields"
        raise Invalid(where, log["optionalFields"], "Only allowed with optionalMode CUSTOM.")
    for index, backend in enumerate(resource.get("backends") or []):
        for name in ("maxRate", "maxRatePerInstance"):
            if backend.get(name, 0) < 0:
                where = f"resource.backends[{index}].{name}"
                raise Invalid(where, backend[name], "Must not be negative.")


def _check_headers(headers: list[str], where: str) -> None:
    """Custom headers, as `name:value`. Source: load-balancing/docs/custom-headers."""
    seen: set[str] = set()
    for index, header in enumerate(headers):
        name, colon, _ = header.partition(":")
        name = name.lower()
        if not colon or not HEADER_NAME.fullmatch(name):
            raise Invalid(f"{where}[{index}]", header, "Must have the form header-name:value.")
        if name in RESERVED_HEADERS or name.startswith(RESERVED_PREFIXES):
            raise Invalid(f"{where}[{index}]", header, "The header name is reserved.")
        if name in seen:
            raise Invalid(f"{where}[{index}]", header, "A header name must not appear twice.")
        seen.add(name)


def _is_application(resource: JsonObject) -> bool:
    """Whether it is a backend service of an Application Load Balancer, as the data plane serves."""
    return resource["protocol"] in HTTP_PROTOCOLS and resource["loadBalancingScheme"] in (
        "EXTERNAL",
        *MANAGED_SCHEMES,
    )


def _check_health_checks(call: Call, resource: JsonObject) -> None:
    checks = resource.get("healthChecks") or []
    if len(checks) > 1:
        raise Invalid(
            "resource.healthChecks",
            len(checks),
            "A backend service takes at most one health check.",
        )
    if not checks and resource.get("backends"):
        raise Required("resource.healthChecks")
    for index, url in enumerate(checks):
        where = f"resource.healthChecks[{index}]"
        key = call.cloud.resolve(where, url, *CHECKS)
        if key.scope != call.scope and (
            call.scope == keys.GLOBAL or resource["loadBalancingScheme"] in MANAGED_SCHEMES
        ):
            raise Invalid(
                where,
                url,
                f"A {_place(call.scope)} backend service takes a {_place(call.scope)} health"
                " check.",
            )
        checks[index] = call.cloud.link(*key)


def _place(scope: str) -> str:
    return "global" if scope == keys.GLOBAL else "regional"


def _check_backend(
    call: Call, resource: JsonObject, backend: JsonObject, where: str, seen: set[Key]
) -> None:
    if not backend.get("group"):
        raise Required(f"{where}.group")
    group = call.cloud.resolve(f"{where}.group", backend["group"], *GROUPS)
    if group in seen:
        raise Invalid(f"{where}.group", backend["group"], "The same group must not be used twice.")
    seen.add(group)
    backend["group"] = call.cloud.link(*group)
    mode = backend.setdefault(
        "balancingMode", "UTILIZATION" if resource["protocol"] in HTTP_PROTOCOLS else "CONNECTION"
    )
    _check_capacity(resource, backend, f"{where}.capacityScaler")
    if mode == "UTILIZATION":
        if not 0 <= backend.get("maxUtilization", 0) <= 1:
            raise Invalid(
                f"{where}.maxUtilization", backend["maxUtilization"], "Must be between 0 and 1."
            )
    elif mode == "RATE":
        if not any(
            backend.get(name) for name in ("maxRate", "maxRatePerInstance", "maxRatePerEndpoint")
        ):
            raise Required(f"{where}.maxRatePerInstance")
    elif mode == "CONNECTION" and resource["protocol"] in HTTP_PROTOCOLS:
        raise Invalid(
            f"{where}.balancingMode", mode, f"Not allowed with protocol {resource['protocol']}."
        )


def _check_capacity(resource: JsonObject, backend: JsonObject, where: str) -> None:
    """The backends of an internal passthrough load balancer have no capacity."""
    if resource["loadBalancingScheme"] != "INTERNAL":
        backend.setdefault("capacityScaler", 1)
    capacity = backend.get("capacityScaler", 1)
    if capacity != 0 and not 0.1 <= capacity <= 1:
        raise Invalid(where, capacity, "Must be 0 or between 0.1 and 1.")
    if capacity == 0 and len(resource["backends"]) == 1:
        raise Invalid(where, capacity, "Must not be 0 for the only backend.")


def on_write(cloud: Cloud, resource: JsonObject) -> None:
    """Record since when each group is attached, and notify the groups: the meaning of their own
    health checks may depend on it.
    """
    service = cloud.key_of(resource["selfLink"])
    groups = {cloud.key_of(backend["group"]) for backend in resource.get("backends") or []}
    for group in [
        group
        for group, services in cloud.attached.items()
        if service in services and group not in groups
    ]:
        del cloud.attached[group][service]
        on_backend_service_written(cloud, group)
    for group in groups:
        cloud.attached.setdefault(group, {}).setdefault(service, cloud.now())
        on_backend_service_written(cloud, group)


def view(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """With the URL maps that use it."""
    users = cloud.url_maps_by_service().get(resource["selfLink"])
    return resource | {"usedBy": [{"reference": url} for url in users]} if users else resource


def on_delete(cloud: Cloud, resource: JsonObject) -> None:
    on_write(cloud, {"selfLink": resource["selfLink"]})


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="backendServices",
        word="backend_service",
        schema="BackendService",
        discovery=("backendServices", "regionBackendServices"),
        complete=complete,
        fingerprint="required",
        view=view,
        on_write=on_write,
        on_delete=on_delete,
    ),
)


@HANDLERS.handles("compute.backendServices.getHealth", "compute.regionBackendServices.getHealth")
def get_health(call: Call) -> JsonObject:
    """The health of one group by the backend service's check; `healthStatus` is absent until a
    verdict is known.
    """
    service = call.resource()
    given = call.body.get("group")
    if not given:
        raise Required("resource.group")
    group = call.cloud.key_of(given)
    if call.key not in call.cloud.attached.get(group, ()):
        raise Invalid(
            "resource.group", given, "The group is not a backend of this backend service."
        )
    status = group_health(call.cloud, service, group)
    response: JsonObject = {"kind": "compute#backendServiceGroupHealth"}
    return response | ({"healthStatus": status} if status else {})


@HANDLERS.handles("compute.backendServices.listUsable", "compute.regionBackendServices.listUsable")
def list_usable(call: Call) -> JsonObject:
    """The project's services; no other project shares any with it."""
    services = call.cloud.list_in(call.scope, call.collection)
    return call.page(services, view=partial(view, call.cloud))


@HANDLERS.handles(
    "compute.backendServices.setSecurityPolicy", "compute.regionBackendServices.setSecurityPolicy"
)
def set_security_policy(call: Call) -> JsonObject:
    """Stored as given: security policies themselves are not modelled."""
    return set_members(call, securityPolicy=call.body.get("securityPolicy"))


@HANDLERS.handles("compute.backendServices.getEffectiveSecurityPolicies")
def get_effective_security_policies(call: Call) -> JsonObject:
    """Compute v1 defines no schema for this response, so it is empty."""
    call.resource()
    return {}


@HANDLERS.handles("compute.backendServices.setEdgeSecurityPolicy")
def set_edge_security_policy(call: Call) -> JsonObject:
    return set_members(call, edgeSecurityPolicy=call.body.get("securityPolicy"))


@HANDLERS.handles("compute.backendServices.addSignedUrlKey")
def add_signed_url_key(call: Call) -> JsonObject:
    """The names of keys are shown, the keys never."""
    service = call.resource_to_change()
    for name in ("keyName", "keyValue"):
        if not call.body.get(name):
            raise Required(f"resource.{name}")
    policy = service.setdefault("cdnPolicy", {})
    policy.setdefault("signedUrlCacheMaxAgeSec", DEFAULT_CACHE_SECONDS)
    names = policy.setdefault("signedUrlKeyNames", [])
    if call.body["keyName"] in names:
        raise Invalid(
            "resource.keyName", call.body["keyName"], "A key of this name already exists."
        )
    names.append(call.body["keyName"])
    return call.operation()


@HANDLERS.handles("compute.backendServices.deleteSignedUrlKey")
def delete_signed_url_key(call: Call) -> JsonObject:
    names = call.resource_to_change().get("cdnPolicy", {}).get("signedUrlKeyNames", [])
    if call.params["keyName"] not in names:
        raise Invalid("keyName", call.params["keyName"], "No key has this name.")
    names.remove(call.params["keyName"])
    return call.operation()
