"""What a model's resources are called, and which resources are ours.

Every name follows from the model's, so nothing has to be remembered, and two models never meet:
each suffix is fixed, so no model's resource can bear another model's resource's name. Ownership is
the name together with the description: a resource that bears the right name but not our description
is somebody else's and is never touched."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import get_args

from infra.fleet.model import Body, Collection, Key
from rollout.model import Colour

COLOURS: tuple[Colour, ...] = get_args(Colour)
GLOBAL = "global"
GATEWAY_DESCRIPTION = "slipway gateway"

# Where a collection's name in this code and in its URLs differ: the URL says the scope already.
_IN_URLS: dict[Collection, str] = {
    "regionInstanceGroupManagers": "instanceGroupManagers",
    "regionInstanceGroups": "instanceGroups",
    "regionAutoscalers": "autoscalers",
    "globalForwardingRules": "forwardingRules",
    "globalAddresses": "addresses",
}

GATEWAY = Key("urlMaps", GLOBAL, "slipway-gateway")
GATEWAY_DEFAULT = Key("backendServices", GLOBAL, "slipway-gateway-default")
GATEWAY_ADDRESS = Key("globalAddresses", GLOBAL, "slipway-gateway")
GATEWAY_HTTP_PROXY = Key("targetHttpProxies", GLOBAL, "slipway-gateway-http")
GATEWAY_HTTPS_PROXY = Key("targetHttpsProxies", GLOBAL, "slipway-gateway-https")
GATEWAY_HTTP_RULE = Key("globalForwardingRules", GLOBAL, "slipway-gateway-http")
GATEWAY_HTTPS_RULE = Key("globalForwardingRules", GLOBAL, "slipway-gateway-https")


def template(name: str) -> Key:
    return Key("instanceTemplates", GLOBAL, name)


def ready_check(model: str) -> Key:
    return Key("healthChecks", GLOBAL, f"{model}-ready")


def live_check(model: str) -> Key:
    return Key("healthChecks", GLOBAL, f"{model}-live")


def group(model: str, colour: Colour, region: str) -> Key:
    return Key("regionInstanceGroupManagers", region, f"{model}-{colour}")


def instances_of(group: Key) -> Key:
    """The instance group that a manager fills: same name, and what backends and named ports speak
    of."""
    return Key("regionInstanceGroups", group.scope, group.name)


def autoscaler(model: str, colour: Colour, region: str) -> Key:
    return Key("regionAutoscalers", region, f"{model}-{colour}")


def backend_service(model: str, colour: Colour) -> Key:
    return Key("backendServices", GLOBAL, f"{model}-{colour}")


def reference(key: Key) -> str:
    """A key as bodies refer to it: `regions/us-central1/instanceGroups/tiny-blue`."""
    scope = GLOBAL if key.scope == GLOBAL else f"regions/{key.scope}"
    return f"{scope}/{_IN_URLS.get(key.collection, key.collection)}/{key.name}"


@lru_cache(maxsize=4096)  # the same few references stand in every body of every look
def canonical(url: str) -> str:
    """A reference however it is spelled, as what follows the project: full URL on any host,
    `projects/...`, or partial."""
    return re.sub(r"^projects/[^/]+/", "", re.sub(r"^.*/compute/[^/]+/", "", url))


def last(url: str | None) -> str | None:
    """The resource's own name at the end of a reference; nothing stays nothing."""
    return url.rsplit("/", 1)[-1] if url else None


def description(model: str, what: str) -> str:
    return f"slipway model={model} {what}"


def is_owned(body: Body, model: str) -> bool:
    return owner(body) == model


def owner(body: Body) -> str | None:
    """The model that a resource's description says it is of."""
    return _model_of(str(body.get("description", "")))


@lru_cache(maxsize=1024)
def _model_of(described: str) -> str | None:
    found = re.match(r"slipway model=(\S+) ", described)
    return found[1] if found else None


def is_gateway(body: Body) -> bool:
    return str(body.get("description", "")).startswith(GATEWAY_DESCRIPTION)


def is_template_of(model: str, name: str) -> bool:
    """By name alone; `llama-3-0123456789` is `llama-3`'s and not `llama`'s."""
    return re.fullmatch(rf"{re.escape(model)}-[0-9a-f]{{10}}", name) is not None


@lru_cache(maxsize=4096)
def is_of(model: str, key: Key) -> bool:
    """Whether a key is one that a model's resource would have; the gateway's parts are nobody's."""
    match key.collection:
        case "instanceTemplates":
            return is_template_of(model, key.name)
        case "healthChecks":
            return key in (ready_check(model), live_check(model))
        case "regionInstanceGroupManagers" | "regionAutoscalers" | "backendServices":
            return key.name in {f"{model}-{colour}" for colour in COLOURS}
    return False


def template_filter(model: str) -> str:
    """The list filter for a model's templates: a regular expression over the whole name (Compute
    API reference, `filter`)."""
    return f'name eq "{model}-[0-9a-f]{{10}}"'


def label_value(text: str) -> str:
    """Any text as a legal label value: lower case letters, digits, `_` and `-`, at most 63."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:63]
