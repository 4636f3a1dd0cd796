"""VMs that are created all at once or not at all: those of a resize request, and those of a group
whose target size policy is BULK.

Source: API reference, targetSizePolicy.mode;
compute/docs/instance-groups/about-resize-requests-mig.
"""

from __future__ import annotations

from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.group_interface import GroupInterface
from compute_emulator.engine.managed_instance import ManagedInstance

RETRY_SECONDS = 30.0


def creation_obstacle(group: GroupInterface, waiting: list[ManagedInstance]) -> Failure | None:
    """Why these VMs cannot all be created now."""
    for instance in waiting:
        instance.behaviour = group.behaviour(instance)
    failures = (group.capacity.failure(instance, len(waiting)) for instance in waiting)
    return next((found for found in failures if found is not None), None)


class BulkCreation:
    """The VMs of a BULK group that are created together. Until then each is in the group,
    CREATING.
    """

    __slots__ = ("_group", "_is_trying", "_waiting")

    def __init__(self, group: GroupInterface) -> None:
        self._group = group
        self._waiting: list[ManagedInstance] = []
        self._is_trying = False

    def add(self, instance: ManagedInstance) -> None:
        self._waiting.append(instance)

    def proceed(self) -> None:
        """Start trying, unless an attempt is already scheduled. If the group is no longer BULK,
        create the VMs at once.
        """
        if self._waiting and not (self._group.is_bulk and self._is_trying):
            self._try()

    def _try(self) -> None:
        self._is_trying = False
        group = self._group
        waiting = [
            instance
            for instance in self._waiting
            if group.instances.get(instance.name) is instance and instance.is_held
        ]
        self._waiting = waiting
        failure = creation_obstacle(group, waiting) if group.is_bulk and waiting else None
        if failure is None:
            self._waiting = []
            for instance in waiting:
                instance.create()
            return
        self._is_trying = True
        group.cloud.after(RETRY_SECONDS, self._try)
        for instance in waiting:
            instance.failure = failure
            group.on_instance_failed(instance, failure)
