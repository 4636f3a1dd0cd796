"""What the parts of a group (`standby_pool.py`, `bulk_creation.py`, `resize_requests.py`) use of
it. `groups.Group` implements it.
"""

from __future__ import annotations

from typing import Protocol

from compute_emulator.control.behaviours import Behaviour
from compute_emulator.engine.capacity import Failure
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_capacity import GroupCapacity
from compute_emulator.engine.instance import Instance
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.errors import JsonObject
from compute_emulator.rules.group import Intent


class GroupInterface(Protocol):
    """A group and its instances."""

    cloud: Cloud
    intent: Intent
    instances: dict[str, ManagedInstance]
    capacity: GroupCapacity

    @property
    def resource(self) -> JsonObject: ...
    @property
    def is_bulk(self) -> bool: ...
    @property
    def is_being_deleted(self) -> bool: ...

    def behaviour(self, instance: Instance) -> Behaviour: ...
    def on_instance_failed(self, instance: Instance, failure: Failure) -> None: ...
    def new_name(self) -> str: ...
    def create_named(self, name: str, zone: str, is_held: bool = False) -> ManagedInstance: ...
    def resize(self, size: int) -> None: ...
