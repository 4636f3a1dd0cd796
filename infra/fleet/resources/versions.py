"""The versions of a managed instance group: its templates, and how many instances each has. Pure.

Used by `instance_group` alone. Exactly one version has no size and takes the rest. Source: Compute
API reference, regionInstanceGroupManagers, `versions`.
"""

from __future__ import annotations

from typing import Any

from infra.fleet import naming
from infra.fleet.model import Body
from rollout.model import Share


def desired(shares: tuple[Share, ...]) -> list[Body]:
    """One version per template, the one that takes over last. Its name is the template's, because a
    changed name alone makes the group replace instances.
    """
    versions: dict[str, Body] = {}
    for share in shares:
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
    """Each template's part of the group: a number, a percentage as text, or `rest`."""
    return {
        naming.last(version.get("instanceTemplate")): _size(version.get("targetSize"))
        for version in versions
    }


def _size(amount: Body | None) -> int | str:
    """The requested size. An amount with nothing but `calculated` was not requested: the version
    takes the rest.
    """
    match amount or {}:
        case {"percent": percent}:
            return f"{percent}%"
        case {"fixed": fixed}:
            return int(fixed)
    return "rest"


def merge(desired: list[Body], observed: list[Body]) -> list[Body]:
    """The versions to write over the observed ones. The names of versions that stay are kept, and
    the same swap never goes backward.

    A step's count is a share of the group's size, so it falls when the size falls: 3 of 6 becomes 2
    of 4. Instances that are replaced already are not moved back for that: the count of the version
    that takes over, which is the last one, never falls. A rollback has other versions, or a count
    of 0, and is written.
    """
    by_template = {naming.last(version.get("instanceTemplate")): version for version in observed}
    is_same_swap = {template for template, size in sizes(observed).items() if size == "rest"} == {
        template for template, size in sizes(desired).items() if size == "rest"
    }
    return [
        _merge_one(
            version,
            by_template.get(naming.last(version["instanceTemplate"])),
            may_fall=not is_same_swap or version is not desired[-1],
        )
        for version in desired
    ]


def _merge_one(desired: Body, observed: Body | None, *, may_fall: bool) -> Body:
    if observed is None:
        return desired
    version = {field: value for field, value in desired.items() if field != "name"}
    if observed.get("name"):
        version["name"] = observed["name"]
    desired_size, observed_size = (
        _size(desired.get("targetSize")),
        _size(observed.get("targetSize")),
    )
    if (
        not may_fall
        and isinstance(desired_size, int)
        and isinstance(observed_size, int)
        and 0 < desired_size < observed_size
    ):
        version["targetSize"] = {"fixed": observed_size}
    return version
