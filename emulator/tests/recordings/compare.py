"""The differences between a recorded response and the emulator's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

VOLATILE = frozenset(
    [
        "IPAddress",
        "address",
        "archiveSizeBytes",
        "certificate",
        "creationTimestamp",
        "diskSizeGb",
        "endTime",
        "expireTime",
        "fingerprint",
        "id",
        "insertTime",
        "instance",
        "ipAddress",
        "labelFingerprint",
        "oauth2ClientSecretSha256",
        "resourceId",
        "selfLinkWithId",
        "sizeGb",
        "sourceDiskId",
        "startTime",
        "targetId",
        "user",
    ]
)
"""Members whose values differ from run to run: only their types are compared."""
DELETED = frozenset(
    ["enableConfidentialCompute", "recommendedSize", "satisfiesPzi", "selfLinkWithId", "warnings"]
)
"""Members that the recorders deleted: that a recording lacks them says nothing."""
REPLACED = {"host": "10.1.2.3"}
"""Top-level members that Config Connector's recorder sets to one value, whatever the service
answered: only the type is compared. Source: its normaliser of HTTP logs, `addReplacement`."""
BETA = frozenset(("serviceAccount", "updatePolicy.minReadySec", "status.stateful.isStateful"))
"""Members of a managed instance group that only `compute/beta` has, which some logs used."""
SPREAD = ("distributionPolicy", "updatePolicy.instanceRedistributionType")
"""Members that a zonal group does not have: such a log is replayed on a regional one."""


class Difference(NamedTuple):
    """`kind` is `status`, `missing`, `extra`, `type`, `length` or `value`."""

    kind: str
    path: str
    recorded: Any
    answered: Any


def differences(log: str, recorded: Any, answered: Any) -> list[Difference]:
    """Every difference that is not due to the recording or to the replay."""
    found = list(_differences(recorded, answered, ""))
    kind = recorded.get("kind") if isinstance(recorded, dict) else None
    if kind == "compute#operation":
        return [each for each in found if each.path not in ("name", "selfLink")]
    if kind == "compute#instanceGroupManager":
        return [each for each in found if not _is_ignored_in_group(log, each)]
    return found


def _is_ignored_in_group(log: str, each: Difference) -> bool:
    if each.path.startswith("currentActions.") and each.kind != "missing":
        return True  # how far the group has come depends on the second
    is_zonal = "zonal" in log or log.startswith(("autoscaler", "published"))
    return each.path in BETA or (is_zonal and each.path.startswith(SPREAD))


def _differences(recorded: Any, answered: Any, path: str) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(answered, dict):
        for name in sorted(recorded.keys() | answered.keys()):
            yield from _in_member(recorded, answered, name, f"{path}.{name}" if path else name)
    elif isinstance(recorded, list) and isinstance(answered, list):
        if len(recorded) != len(answered):
            yield Difference("length", path, recorded, answered)
            return
        for index, (one, other) in enumerate(zip(recorded, answered, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif recorded != answered or type(recorded) is not type(answered):
        yield Difference("value", path, recorded, answered)


def _in_member(
    recorded: dict[str, Any], answered: dict[str, Any], name: str, path: str
) -> Iterator[Difference]:
    if name not in answered:
        yield Difference("missing", path, recorded[name], None)
    elif name not in recorded:
        if name not in DELETED:
            yield Difference("extra", path, None, answered[name])
    elif name not in VOLATILE and recorded[name] != REPLACED.get(path):
        yield from _differences(recorded[name], answered[name], path)
    elif type(recorded[name]) is not type(answered[name]):
        yield Difference("type", path, recorded[name], answered[name])
