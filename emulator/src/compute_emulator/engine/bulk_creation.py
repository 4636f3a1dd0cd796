"""VMs that are made all at once or not at all: those of a resize request, and those of a group
whose target size policy is BULK.

Source: API reference, targetSizePolicy.mode;
compute/docs/instance-groups/about-resize-requests-mig."""

from __future__ import annotations

from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.group_interface import Crew
from compute_emulator.engine.managed_instance import Machine

RETRY_SECONDS = 30.0


def obstacle(group: Crew, waiting: list[Machine]) -> Failure | None:
    """Why these VMs cannot all be made now."""
    for machine in waiting:
        machine.behaviour = group.behaviour(machine)
    failures = (group.supply.failure(machine, len(waiting)) for machine in waiting)
    return next((found for found in failures if found is not None), None)


class Bulk:
    """The VMs of a BULK group that wait for each other. Each has its place in the group,
    CREATING."""

    __slots__ = ("_group", "_is_trying", "_waiting")

    def __init__(self, group: Crew) -> None:
        self._group = group
        self._waiting: list[Machine] = []
        self._is_trying = False

    def add(self, machine: Machine) -> None:
        self._waiting.append(machine)

    def tend(self) -> None:
        """Begin to try, unless that goes on already. In a group that is BULK no longer the VMs wait
        no longer."""
        if self._waiting and not (self._group.is_bulk and self._is_trying):
            self._try()

    def _try(self) -> None:
        self._is_trying = False
        group = self._group
        here = [
            machine
            for machine in self._waiting
            if group.machines.get(machine.name) is machine and machine.is_held
        ]
        self._waiting = here
        failure = obstacle(group, here) if group.is_bulk and here else None
        if failure is None:
            self._waiting = []
            for machine in here:
                machine.create()
            return
        self._is_trying = True
        group.cloud.after(RETRY_SECONDS, self._try)
        for machine in here:
            machine.failure = failure
            group.failed(machine, failure)
