"""Names of a model's resources, and which resources Slipway owns. Pure.

Every name follows from the model's name, so nothing has to be remembered, and starts with
`slipway-`, so that Slipway's resources can be filtered and named in IAM conditions. Two models
never share a name, because each suffix is fixed. A resource is owned if both its name and its
description say so; one with our name and another description is never touched.

    group, autoscaler, backend service   slipway-<model>-<colour>
    health checks                        slipway-<model>-<colour>-lb (readiness), ...-live
    instance template                    slipway-<model>-<10 hex digits>

A model's name has at most 40 characters, so a resource's has at most 59.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import get_args

from infra.fleet.model import Body, Collection, Key
from rollout.deferred import dataclass
from rollout.model import Colour

PREFIX = "slipway-"
COLOURS: tuple[Colour, ...] = get_args(Colour)
GLOBAL = "global"
GATEWAY_DESCRIPTION = "slipway gateway"
_TEMPLATE_ENDING = re.compile("-[0-9a-f]{10}")
_CHECK_ENDING = re.compile(f"-({'|'.join(COLOURS)})-(lb|live)")

_SERVER, _PROJECT = re.compile("^.*/compute/[^/]+/"), re.compile("^projects/[^/]+/")
_OWNER = re.compile(r"slipway model=(\S+) ")

# Collections whose name in URLs differs: a URL states the scope separately.
_IN_URLS: dict[Collection, str] = {
    "regionInstanceGroupManagers": "instanceGroupManagers",
    "regionInstanceGroups": "instanceGroups",
    "regionAutoscalers": "autoscalers",
    "globalForwardingRules": "forwardingRules",
    "globalAddresses": "addresses",
}


@dataclass(frozen=True)
class Gateway:
    """The parts of a gateway; that without a name is the shared one."""

    name: str = ""

    @property
    def prefix(self) -> str:
        return f"{PREFIX}gateway-{self.name}" if self.name else f"{PREFIX}gateway"

    @property
    def url_map(self) -> Key:
        return Key("urlMaps", GLOBAL, self.prefix)

    @property
    def default(self) -> Key:
        return Key("backendServices", GLOBAL, f"{self.prefix}-default")

    @property
    def address(self) -> Key:
        return Key("globalAddresses", GLOBAL, self.prefix)

    @property
    def http_proxy(self) -> Key:
        return Key("targetHttpProxies", GLOBAL, f"{self.prefix}-http")

    @property
    def https_proxy(self) -> Key:
        return Key("targetHttpsProxies", GLOBAL, f"{self.prefix}-https")

    @property
    def http_rule(self) -> Key:
        return Key("globalForwardingRules", GLOBAL, f"{self.prefix}-http")

    @property
    def https_rule(self) -> Key:
        return Key("globalForwardingRules", GLOBAL, f"{self.prefix}-https")


SHARED = Gateway()
GATEWAY, GATEWAY_DEFAULT, GATEWAY_ADDRESS = SHARED.url_map, SHARED.default, SHARED.address
GATEWAY_HTTP_PROXY, GATEWAY_HTTPS_PROXY = SHARED.http_proxy, SHARED.https_proxy
GATEWAY_HTTP_RULE, GATEWAY_HTTPS_RULE = SHARED.http_rule, SHARED.https_rule
URL_MAP_FILTER = f'name eq "{PREFIX}gateway(-.*)?"'
"""The list filter for the URL maps of all gateways."""
_GATEWAY_PARTS: dict[Collection, str] = {
    "urlMaps": "",
    "globalAddresses": "",
    "backendServices": "-default",
    "targetHttpProxies": "-http",
    "targetHttpsProxies": "-https",
    "globalForwardingRules": "-https?",
}


@lru_cache(maxsize=4096)
def gateway_of(key: Key) -> Gateway | None:
    """The gateway that a key is a part of, by its name alone."""
    ending = _GATEWAY_PARTS.get(key.collection)
    if ending is None:
        return None
    found = re.fullmatch(f"{PREFIX}gateway(?:-(.+?))?{ending}", key.name)
    return Gateway(found[1] or "") if found else None


def gateway_name(key: Key) -> str:
    """The name of the gateway that a key is a part of; empty for the shared one."""
    found = gateway_of(key)
    return found.name if found else ""


def url_map(body: Body) -> Key:
    """The key of a URL map that was read."""
    return Key("urlMaps", GLOBAL, str(body.get("name", GATEWAY.name)))


def gateway_named(name: str | None) -> Gateway:
    """That of `traffic.gateway`."""
    return Gateway(name or "")


# ---- Keys


def group_name(model: str, colour: Colour) -> str:
    """`slipway-tiny-blue`: the name of a group, its autoscaler and its backend service."""
    return f"{PREFIX}{model}-{colour}"


def template_name(model: str, digest: str) -> str:
    """`slipway-tiny-1f2e3d4c5b`, from the SHA-256 of the machine's properties in hex."""
    return f"{PREFIX}{model}-{digest[:10]}"


def template(name: str) -> Key:
    return Key("instanceTemplates", GLOBAL, name)


def ready_check(model: str, colour: Colour) -> Key:
    """The load balancer's check: may an instance get requests?"""
    return Key("healthChecks", GLOBAL, f"{group_name(model, colour)}-lb")


def live_check(model: str, colour: Colour) -> Key:
    """The group's check: must an instance be replaced?"""
    return Key("healthChecks", GLOBAL, f"{group_name(model, colour)}-live")


def group(model: str, colour: Colour, region: str) -> Key:
    return Key("regionInstanceGroupManagers", region, group_name(model, colour))


def instances_of(group: Key) -> Key:
    """The instance group that a manager fills: same name, referred to by backends and named
    ports.
    """
    return Key("regionInstanceGroups", group.scope, group.name)


def autoscaler(model: str, colour: Colour, region: str) -> Key:
    return Key("regionAutoscalers", region, group_name(model, colour))


def backend_service(model: str, colour: Colour) -> Key:
    return Key("backendServices", GLOBAL, group_name(model, colour))


# ---- References


def collection_in_urls(collection: Collection) -> str:
    return _IN_URLS.get(collection, collection)


def reference(key: Key) -> str:
    """A key as bodies refer to it: `regions/us-central1/instanceGroups/slipway-tiny-blue`."""
    scope = GLOBAL if key.scope == GLOBAL else f"regions/{key.scope}"
    return f"{scope}/{collection_in_urls(key.collection)}/{key.name}"


@lru_cache(maxsize=4096)  # the same few references are in every body of every pass
def canonical(url: str) -> str:
    """What follows the project in a reference of any spelling: a full URL on any host,
    `projects/...`, or a partial one.
    """
    return _PROJECT.sub("", _SERVER.sub("", url))


def last(url: str | None) -> str | None:
    """The resource's name at the end of a reference; None stays None."""
    return url.rsplit("/", 1)[-1] if url else None


# ---- Ownership


def description(model: str, what: str) -> str:
    return f"slipway model={model} {what}"


def is_owned(body: Body, model: str) -> bool:
    return owner(body) == model


def owner(body: Body) -> str | None:
    """The model that a resource's description names as its owner."""
    return _model_of(str(body.get("description", "")))


@lru_cache(maxsize=1024)
def _model_of(description: str) -> str | None:
    found = _OWNER.match(description)
    return found[1] if found else None


def is_gateway(body: Body) -> bool:
    return str(body.get("description", "")).startswith(GATEWAY_DESCRIPTION)


@lru_cache(maxsize=4096)
def is_of(model: str, key: Key) -> bool:
    """Whether a key is one that a resource of the model has; no part of the gateway is."""
    match key.collection:
        case "instanceTemplates":
            return _TEMPLATE_ENDING.fullmatch(key.name.removeprefix(f"{PREFIX}{model}")) is not None
        case "healthChecks":
            return _CHECK_ENDING.fullmatch(key.name.removeprefix(f"{PREFIX}{model}")) is not None
        case "regionInstanceGroupManagers" | "regionAutoscalers" | "backendServices":
            return key.name in {group_name(model, colour) for colour in COLOURS}
    return False


def model_of_service(reference: str) -> str | None:
    """The model whose backend service a canonical reference names, by its name alone."""
    name = reference.removeprefix(f"{GLOBAL}/backendServices/{PREFIX}")
    model, _, colour = name.rpartition("-")
    return model if name != reference and colour in COLOURS else None


def colour_of(model: str, name: str) -> Colour | None:
    """The colour in a group's name, if it is one of the model's."""
    return next((colour for colour in COLOURS if name == group_name(model, colour)), None)


def group_of_check(check: Key) -> str:
    """The name of the group that a health check belongs to."""
    return check.name.rpartition("-")[0]


def template_filter(model: str) -> str:
    """The list filter for a model's templates: a regular expression over the whole name (Compute
    API reference, `filter`).
    """
    return f'name eq "{_template_pattern(model)}"'


def check_filter(model: str) -> str:
    """The list filter for the health checks of a model's groups."""
    return f'name eq "{_check_pattern(model)}"'


def _template_pattern(model: str) -> str:
    """`slipway-llama-3-0123456789` is a template of `llama-3` and not of `llama`."""
    return f"{PREFIX}{model}{_TEMPLATE_ENDING.pattern}"


def _check_pattern(model: str) -> str:
    return f"{PREFIX}{model}{_CHECK_ENDING.pattern}"


def label_value(text: str) -> str:
    """Any text as a legal label value: lower-case letters, digits, `_` and `-`, at most 63."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:63]
