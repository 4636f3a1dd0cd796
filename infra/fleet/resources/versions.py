"""Which templates a group runs, and how many instances of each: the part of a managed instance
group that a swap moves.

Used by `instance_group` alone. Exactly one version has no size and takes the rest. Source: Compute
API reference, regionInstanceGroupManagers, `versions`."""

from __future__ import annotations

from typing import Any

from infra.fleet import naming
from infra.fleet.model import Body
from rollout.model import Share


def desired(shares: tuple[Share, ...]) -> list[Body]:
    """One version a template. Named by the template, because a version's new name alone makes the
    group replace its instances."""
    versions: dict[str, Body] = {}
    for share in sorted(shares, key=lambda share: share.count is not None):
        template = share.release.template
        version: Body = {
            "name": template,
            "instanceTemplate": naming.reference(naming.template(template)),
        }
        if share.count is not None:
            version["targetSize"] = {"fixed": share.count}
        versions.setdefault(template, version)
    return list(versions.values())


def sizes(versions: list[Body]) -> dict[str | None, Any]:
    """Template to its part of the group: a number, a percentage as text, or `rest`."""
    return {
        naming.last(version.get("instanceTemplate")): _size(version.get("targetSize"))
        for version in versions
    }


def _size(amount: Body | None) -> int | str:
    """What was asked for; an amount that only says what it was `calculated` to be was not asked for
    at all."""
    match amount or {}:
        case {"percent": percent}:
            return f"{percent}%"
        case {"fixed": fixed}:
            return int(fixed)
    return "rest"


def merged(desired: list[Body], observed: list[Body]) -> list[Body]:
    """The versions to write over the observed ones: names of templates that stay are kept, and the
    same swap never goes backwards.

    A step's count is a part of the group's size, so it falls when only the size fell: 3 of 6
    becomes 2 of 4. Instances that already took over are not sent back for that. A way back is
    another set of versions, or a count of 0, and passes."""
    observed_value = {naming.last(version.get("instanceTemplate")): version for version in observed}
    same = {template for template, size in sizes(observed).items() if size == "rest"} == {
        template for template, size in sizes(desired).items() if size == "rest"
    }
    return [
        _merged_one(version, observed_value.get(naming.last(version["instanceTemplate"])), same)
        for version in desired
    ]


def _merged_one(desired: Body, observed: Body | None, is_same_swap: bool) -> Body:
    if observed is None:
        return desired
    version = {field: value for field, value in desired.items() if field != "name"}
    if observed.get("name"):
        version["name"] = observed["name"]
    desired_value, observed_value = (
        _size(desired.get("targetSize")),
        _size(observed.get("targetSize")),
    )
    if (
        is_same_swap
        and isinstance(desired_value, int)
        and isinstance(observed_value, int)
        and 0 < desired_value < observed_value
    ):
        version["targetSize"] = {"fixed": observed_value}
    return version
