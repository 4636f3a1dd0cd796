"""Managed instances as plain records: for tests, for `GET /control/instances`, and for metrics."""

from __future__ import annotations

from compute_emulator.engine.attached_services import services_of
from compute_emulator.engine.backends import service_check
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import Group, groups
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.errors import JsonObject


def instance_records(cloud: Cloud) -> list[JsonObject]:
    """A record of every managed instance, including those being created or deleted."""
    records = []
    for group in groups(cloud):
        checks = [
            c
            for service in services_of(cloud, group.group_key)
            if (c := service_check(cloud, service)) is not None
        ]
        check = group.check()
        for instance in group.instances.values():
            record: JsonObject = {
                **instance_names(group, instance),
                "region": group.region,
                "version": instance.revision.name,
            }
            record |= {
                "status": instance.status,
                "action": instance.action,
                "alive": instance.liveness(check)[0],
            }
            record["ready"] = instance.is_running and any(
                instance.readiness(each) == "HEALTHY" for each in checks
            )
            record["error"] = instance.failure.code if instance.failure is not None else None
            records.append(record)
    return records


def instance_names(group: Group, instance: ManagedInstance) -> dict[str, str]:
    template = instance.revision.template.rpartition("/")[2]
    return {
        "group": group.key.name,
        "zone": instance.zone,
        "template": template,
        "name": instance.name,
    }
