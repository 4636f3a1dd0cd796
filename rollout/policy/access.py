"""Which identity, network, addresses, hosts, secrets and gateways a release may use. Pure.

Called by `rollout/policy/checks.py`. Invariant: what the policy does not name is not allowed, so
that a project without a policy exposes nothing, and runs instances as Slipway's own account only.

A name may end in `*`, for every name that begins so, and may contain `{model}`, for the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rollout.policy.policy import Policy
from rollout.policy.violation import Violation, listed
from rollout.spec.defaults import DEFAULT_BOOT_IMAGES, account_email
from rollout.spec.images import has_prefix, is_listed
from rollout.spec.model import DEFAULT_NETWORK, Machine, Spec, Traffic

MODEL = "{model}"
COMPUTE_DEFAULT = "default"
"""How `service_accounts` names the project's default Compute Engine account, as which releases run
that were accepted before Slipway named one."""


def access_violations(policy: Policy, model: str, spec: Spec) -> tuple[Violation, ...]:
    """Everything that the release would use and the policy does not list."""
    return (
        *_account(policy, model, spec.machine),
        *_networks(policy, model, spec.machine),
        *_address(policy, spec.machine),
        *_exposure(policy, model, spec.traffic),
        *_each(policy.tags, model, "tags", (("machine.tags", tag) for tag in spec.machine.tags)),
        *_secrets(policy, model, spec),
        *_boot_image(policy, spec.machine.image),
        *_reservation(policy, model, spec.machine.reservation),
        *_gateway(policy, model, spec.traffic),
        *_digest(policy, spec.artifact.image),
    )


def _account(policy: Policy, model: str, machine: Machine) -> Iterator[Violation]:
    names = _for_model(policy.service_accounts, model)
    accounts = [_email(each, policy.project) for each in names]
    given = machine.service_account or COMPUTE_DEFAULT
    is_ours = given.endswith(account_email("", policy.project))
    if not _is_named(given, (each for each in accounts if is_ours or not _is_of_project(each))):
        yield Violation(
            f"machine.service_account: policy allows {listed(accounts, 'no account')}; got"
            f" {machine.service_account or 'the default Compute Engine account'}",
            f"service_accounts={given}",
        )


def _email(name: str, project: str) -> str:
    """The account that an entry names. Without a project, nothing but Compute Engine's default can
    be meant.
    """
    if "@" in name or name.endswith("*") or name == COMPUTE_DEFAULT:
        return name
    return account_email(name, project) if project else COMPUTE_DEFAULT


def _is_of_project(name: str) -> bool:
    """Whether an entry such as `llama-*`, which names no project, means accounts of Slipway's."""
    return name != "*" and name.endswith("*") and "@" not in name


def _networks(policy: Policy, model: str, machine: Machine) -> Iterator[Violation]:
    """A subnetwork determines its network, so the default network beside one is not used."""
    own = f"projects/{policy.project}/"
    names = [each.removeprefix(own) for each in _for_model(policy.networks, model)]
    found = [("machine.subnetwork", machine.subnetwork)] if machine.subnetwork else []
    if not machine.subnetwork or machine.network.removeprefix(own) != DEFAULT_NETWORK:
        found.append(("machine.network", machine.network))
    for path, name in found:
        if not _is_named(name.removeprefix(own), names):
            yield Violation(
                f"{path}: policy allows {listed(names, 'no network')}; got {name}",
                f"networks={name}",
            )


def _address(policy: Policy, machine: Machine) -> Iterator[Violation]:
    if machine.external_ip and not policy.external_ip:
        yield Violation(
            "machine.external_ip: policy allows no external addresses; got true; leave it out, and"
            " images are pulled through Private Google Access or Cloud NAT",
            "external_ip=true",
        )


def _exposure(policy: Policy, model: str, traffic: Traffic) -> Iterator[Violation]:
    if not traffic.is_exposed:
        return
    if traffic.exposure not in policy.exposure:
        yield Violation(
            f"traffic.exposure: policy allows {listed((*policy.exposure, 'none'), '')}; got"
            f" {traffic.exposure}",
            f"exposure={traffic.exposure}",
        )
    hosts = _for_model(policy.hosts, model)
    for path, host in (
        ("traffic.host", traffic.host),
        ("traffic.preview_host", traffic.preview_host),
    ):
        if host and "*" not in hosts and not is_listed(host, hosts):
            yield Violation(
                f"{path}: policy allows {listed(hosts, 'no host')}; got {host}", f"hosts={host}"
            )


def _secrets(policy: Policy, model: str, spec: Spec) -> Iterator[Violation]:
    """A secret's version is not part of its name."""
    found = (
        (f"artifact.secrets.{variable}", secret.partition("@")[0])
        for variable, secret in spec.artifact.secrets.items()
    )
    return _each(policy.secrets, model, "secrets", found)


def _boot_image(policy: Policy, image: str | None) -> Iterator[Violation]:
    """A free choice of the boot image would be a free choice of what runs."""
    prefixes = (*policy.images, *policy.boot_images)
    if image in (None, *DEFAULT_BOOT_IMAGES):
        return
    if not any(has_prefix(image, prefix) for prefix in prefixes):
        allowed = listed(prefixes, "Slipway's defaults")
        yield Violation(
            f"machine.image: policy allows images that start with {allowed}; got {image}",
            f"boot_images={image}",
        )


def _reservation(policy: Policy, model: str, name: str) -> Iterator[Violation]:
    found = () if name in ("any", "none") else (("machine.reservation", name),)
    return _each(policy.reservations, model, "reservations", found)


def _gateway(policy: Policy, model: str, traffic: Traffic) -> Iterator[Violation]:
    """The shared gateway is for every model that may be exposed."""
    found = (("traffic.gateway", traffic.gateway),) if traffic.gateway else ()
    return _each(policy.gateways, model, "gateways", found)


def _digest(policy: Policy, image: str | None) -> Iterator[Violation]:
    if policy.require_digest and image and "@sha256:" not in image:
        yield Violation(
            f"artifact.image: policy requires an image that is named by its digest; got {image}",
            "require_digest=false",
        )


def _each(
    names: tuple[str, ...], model: str, field: str, given: Iterable[tuple[str, str]]
) -> Iterator[Violation]:
    allowed = _for_model(names, model)
    for path, name in given:
        if not _is_named(name, allowed):
            yield Violation(
                f"{path}: policy allows {listed(allowed, f'no {field}')}; got {name}",
                f"{field}={name}",
            )


def _for_model(names: Iterable[str], model: str) -> list[str]:
    """The names with the model's in place; those that need one are left out without it."""
    return [each.replace(MODEL, model) for each in names if model or MODEL not in each]


def _is_named(name: str, names: Iterable[str]) -> bool:
    return any(
        name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in names
    )
