"""The policy: what no release may exceed, and how its document is read.

Read by `rollout/policy/caps.py` (one spec), `rollout/policy/usage.py` (all models of the project),
`rollout/policy/access.py` (what a release may use) and `infra/settings.py`, which loads the
document `settings/policy`. Pure. Invariant: an empty policy limits no machine and no cost, and lets
no release be reached from outside, or run as anything but Slipway's own account.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import field, fields, replace
from typing import Any

from rollout.deferred import dataclass
from rollout.policy.freeze import Freeze, load_freezes
from rollout.policy.prices import Prices
from rollout.policy.stop import Stop, load_stop
from rollout.spec.defaults import MODEL_ACCOUNT
from rollout.spec.model import DEFAULT_NETWORK
from rollout.spec.problems import redact
from rollout.visible import is_visible

IsSigned = Callable[[str, str, tuple[str, ...]], bool]
"""Whether a signature (base64) of a text verifies against one of the public keys. Raises ValueError
for a key that is not one."""


def never_signed(text: str, signature: str, signers: tuple[str, ...]) -> bool:
    return False


REGISTRIES = ("pkg.dev", "gcr.io", "docker.io", "ghcr.io")
"""Where the intake may resolve tags, unless the policy says otherwise."""


@dataclass(frozen=True)
class Policy:
    """Caps and allow-lists; None or an empty tuple means no limit. The `max_project_` caps apply to
    the sum over all models of the project.

    Images match by prefix, up to a `/`, a tag or a digest (`gcr.io/p` does not match
    `gcr.io/pirates`); regions and types match by their full name. `images` covers boot images too,
    `boot_images` these alone; Slipway's defaults are always allowed. `signers` are public keys
    (PEM): if there are any, an image runs only if its release carries a signature by one of them,
    and start-up scripts, which cannot be signed, do not run.
    `registries` are the hosts, or their domains, that the intake may connect to for the digest of a
    tag; an empty list means none. `freezes` are times in which no rollout begins or goes on.
    `approvers` are public keys (PEM) by the name that a step of kind `approve` gives them.
    `gate_hosts` are the hosts, or their domains, whose evaluation jobs may judge a release; an
    empty list means none. `service_accounts`, `networks`, `external_ip`, `exposure`, `hosts`,
    `tags`, `secrets`, `reservations` and `gateways` are what a release may use
    (`rollout/policy/access.py`): an empty list means none. `require_digest`: a publisher names
    images by digest, never by tag. `stop`: nothing is changed in Compute Engine. `project` is where
    Slipway runs; a service account without a domain is in it.
    """

    max_instances: int | None = None
    max_accelerators: int | None = None
    max_cost_per_hour: float | None = None
    max_project_instances: int | None = None
    max_project_accelerators: int | None = None
    max_project_cost_per_hour: float | None = None
    regions: tuple[str, ...] = ()
    machine_types: tuple[str, ...] = ()
    accelerator_types: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    registries: tuple[str, ...] = REGISTRIES
    signers: tuple[str, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    approvers: Mapping[str, str] = field(default_factory=dict)
    gate_hosts: tuple[str, ...] = ()
    stop: Stop | None = None
    service_accounts: tuple[str, ...] = (MODEL_ACCOUNT,)
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)
    external_ip: bool = False
    exposure: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    boot_images: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    require_digest: bool = False
    project: str = field(default="", compare=False)
    prices: Prices = field(default_factory=Prices)
    is_signed: IsSigned = field(default=never_signed, compare=False)

    @property
    def has_project_caps(self) -> bool:
        caps = (
            self.max_project_instances,
            self.max_project_accelerators,
            self.max_project_cost_per_hour,
        )
        return any(cap is not None for cap in caps)


COSTS = ("max_cost_per_hour", "max_project_cost_per_hour")
_NOT_IN_DOCUMENT = ("prices", "is_signed", "project")
_SECRET = "artifact.secrets"
"""Where `redact` shows no text: somebody may have put a private key in place of a public one."""
NO_LIMIT_IF_ABSENT = ("regions", "machine_types", "accelerator_types", "images", "signers")
_DOMAIN = r"([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+"
_DOMAINS = (rf"{_DOMAIN}(:\d+)?", "hosts, or domains with all hosts below them, without *")
_PREFIX = r"(?!.*//)[A-Za-z0-9._:/@-]+"


def _pattern(characters: str) -> str:
    return rf"([{characters}]|\{{model\}})*\*?"


_FORMS: Mapping[str, tuple[str, str]] = {
    "regions": (r"[a-z]+-[a-z]+\d+", "whole names, such as us-central1"),
    "machine_types": (r"[a-z0-9]+(-[a-z0-9]+)+", "whole names, such as g2-standard-12"),
    "accelerator_types": (r"[a-z0-9-]+", "whole names, such as nvidia-l4"),
    "images": (_PREFIX, "beginnings of names, such as us-docker.pkg.dev/my-project/, without *"),
    "boot_images": (
        rf"(projects|global)\b{_PREFIX}",
        "beginnings of names, such as projects/my-project/global/images/, without *",
    ),
    "registries": _DOMAINS,
    "gate_hosts": _DOMAINS,
    "exposure": ("external|none", "external or none"),
    "hosts": (
        r"\*|(([A-Za-z0-9-]|\{model\})+\.)*[A-Za-z0-9-]+",
        "hosts, or domains with all hosts below them, such as models.example.com or"
        " {model}.example.com, or * for every host",
    ),
    "networks": (
        rf"\*|(global|regions|projects)/{_pattern('a-z0-9.:/-')}",
        "names such as global/networks/default, with * at the end only",
    ),
    "service_accounts": (
        _pattern("a-z0-9.@-"),
        "e-mail addresses, or names such as {model}-serving, with * at the end only",
    ),
    "tags": (_pattern("a-z0-9-"), "names such as web, with * at the end only"),
    "secrets": (
        _pattern("A-Za-z0-9_-"),
        "names such as {model}_token, without version, with * at the end only",
    ),
    "reservations": (_pattern("a-z0-9.:/-"), "names such as block-7, with * at the end only"),
    "gateways": (_pattern("a-z0-9-"), "names such as edge, with * at the end only"),
}
"""By list, how each of its names must look, so that none is one that nothing can have."""


def load_policy(
    document: Mapping[str, Any] | None,
    prices: Callable[[], Prices] = Prices,
    is_signed: IsSigned = never_signed,
    project: str = "",
) -> Policy:
    """The policy in a document, for the project in which Slipway runs; `prices` is called only if
    the policy caps a cost. Raises ValueError for an unknown field or a wrong type: a misspelled cap
    must not pass for no cap.
    """
    given = document or {}
    defaults = {
        each.name: each.default for each in fields(Policy) if each.name not in _NOT_IN_DOCUMENT
    }
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ValueError(
            f"settings/policy has unknown fields {', '.join(unknown)}; known fields are"
            f" {', '.join(sorted(defaults))}"
        )
    values = {name: _value(name, value, defaults[name]) for name, value in given.items()}
    policy = Policy(**values, is_signed=is_signed, project=project)
    if policy.signers:
        is_signed("", "", policy.signers)  # reports an invalid key now, not at the first signature
    for name, key in policy.approvers.items():
        try:
            is_signed("", "", (key,))
        except ValueError as error:
            raise ValueError(
                f"settings/policy: approvers.{name} must be a public key in PEM form, of P-256 or"
                " Ed25519"
            ) from error
    has_cost_cap = any(values.get(name) is not None for name in COSTS)
    return replace(policy, prices=prices()) if has_cost_cap else policy


_LOADERS: Mapping[str, Callable[[Any], Any]] = {"freezes": load_freezes, "stop": load_stop}


def _value(name: str, value: Any, default: Any) -> Any:
    if name in _LOADERS:
        try:
            return _LOADERS[name](value)
        except ValueError as error:
            raise ValueError(f"settings/policy: {error}") from error
    if name == "approvers":
        return _keys(value)
    if isinstance(default, bool):
        return _switch(name, value)
    return _names(name, value) if isinstance(default, tuple) else _number(name, value)


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"settings/policy: {name} must be true or false, got {value!r}")
    return value


def _keys(value: Any) -> Mapping[str, str]:
    is_map = isinstance(value, Mapping) and all(
        isinstance(name, str) and name and is_visible(name) and isinstance(key, str) and key
        for name, key in value.items()
    )
    if not is_map:
        raise ValueError(
            "settings/policy: approvers must map names, in visible characters, to keys, got"
            f" {redact(_SECRET, value)}"
        )
    return dict(value)


def _number(name: str, value: Any) -> float | None:
    """A console may store 5 as 5.0."""
    if value is None:
        return None
    is_number = (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    )
    if not is_number or (name not in COSTS and value != int(value)):
        kind = "number" if name in COSTS else "integer"
        raise ValueError(f"settings/policy: {name} must be a non-negative {kind}, got {value!r}")
    return float(value) if name in COSTS else int(value)


def _names(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(each, str) and each for each in value
    ):
        given = redact(_SECRET, value) if name == "signers" else repr(value)
        raise ValueError(f"settings/policy: {name} must be a list of names, got {given}")
    if name in NO_LIMIT_IF_ABSENT and not value:
        raise ValueError(
            f"settings/policy: {name} lists nothing; name what is allowed, or leave it out for no"
            " limit"
        )
    if name == "signers":
        return tuple(value)
    form, words = _FORMS[name]
    for each in value:
        if not re.fullmatch(form, each):
            raise ValueError(f"settings/policy: {name} must list {words}; got {each!a}")
    return tuple(value)
