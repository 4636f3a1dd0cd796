"""One group, driven through Google's client, whose budgets are checked at every event."""

from __future__ import annotations

from collections import Counter
from typing import Any

from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.keys import Key
from emulator.tests.clients import PROJECT, REGION, Clients, backend_service, health_check, template

SCOPE = f"regions/{REGION}"
ZONES = [
    compute_v1.DistributionPolicyZoneConfiguration(zone=f"zones/{REGION}-{letter}")
    for letter in "abc"
]
TEMPLATES = "global/instanceTemplates/"
FIXED = compute_v1.FixedOrPercent


def version(
    name: str, fixed: int | None = None, percent: int | None = None, label: str = ""
) -> Any:
    members: dict[str, Any] = {"instance_template": TEMPLATES + name}
    if fixed is not None:
        members["target_size"] = FIXED(fixed=fixed)
    if percent is not None:
        members["target_size"] = FIXED(percent=percent)
    return compute_v1.InstanceGroupManagerVersion(members | ({"name": label} if label else {}))


def policy(surge: int = 3, unavailable: int = 0, **members: Any) -> Any:
    """A proactive policy. It sets every member, because a patch merges it with the previous
    policy.
    """
    given = {
        "type_": "PROACTIVE",
        "max_surge": FIXED(fixed=surge),
        "max_unavailable": FIXED(fixed=unavailable),
    }
    given |= {"replacement_method": "SUBSTITUTE"}
    return compute_v1.InstanceGroupManagerUpdatePolicy(given | members)


class Fleet:
    """A group `tiny` with templates `v1`, `v2` and `v3`, and health checks `alive` (auto-healing)
    and `ready`.
    """

    name = "tiny"

    def __init__(self, clients: Clients, clock: VirtualClock) -> None:
        self.clients, self.clock = clients, clock
        self.cloud: Cloud = clients.cloud
        self.managers = clients.of(compute_v1.RegionInstanceGroupManagersClient)
        self.floor_holds = False  # check the floor from now on: enough VMs are available
        for each in ("v1", "v2", "v3"):
            self.template(each)
        for each in ("alive", "ready"):
            checks = clients.of(compute_v1.HealthChecksClient)
            clients.done(
                checks.insert_unary(
                    project=PROJECT, health_check_resource=health_check(each, f"/{each}")
                )
            )

    def template(self, name: str, **properties: Any) -> None:
        made = self.clients.of(compute_v1.InstanceTemplatesClient).insert_unary(
            project=PROJECT, instance_template_resource=template(name, **properties)
        )
        self.clients.done(made)

    # Requests

    def create(self, size: int = 6, healing: bool = True, delay: int = 300, **members: Any) -> None:
        """Create the group, in the zones a, b and c unless members name others."""
        given = {
            "name": self.name,
            "target_size": size,
            "versions": [version("v1")],
            "update_policy": policy(),
        } | members
        if healing:
            heal = {"health_check": "global/healthChecks/alive", "initial_delay_sec": delay}
            given.setdefault(
                "auto_healing_policies", [compute_v1.InstanceGroupManagerAutoHealingPolicy(heal)]
            )
        resource = compute_v1.InstanceGroupManager(given)
        if not resource.distribution_policy.zones:
            resource.distribution_policy.zones = ZONES
        made = self.managers.insert_unary(
            project=PROJECT, region=REGION, instance_group_manager_resource=resource
        )
        assert not self.clients.done(made).error.errors

    def patch(self, **members: Any) -> None:
        resource = compute_v1.InstanceGroupManager(members)
        self.done(self.call("patch_unary", instance_group_manager_resource=resource))

    def versions(self, *versions: Any, **members: Any) -> None:
        self.patch(versions=list(versions), **members)

    def resize(self, size: int) -> None:
        self.done(self.call("resize_unary", size=size))

    def call(self, method: str, **members: Any) -> Any:
        return getattr(self.managers, method)(
            project=PROJECT, region=REGION, instance_group_manager=self.name, **members
        )

    def done(self, operation: Any) -> Any:
        done = self.clients.done(operation)
        assert not done.error.errors, done.error
        return done

    def serve(
        self, *, drain: int = 0, name: str = "bs", check: str = "ready", **members: Any
    ) -> None:
        """Put the group behind a backend service with its own check, and name its port."""
        group = f"projects/{PROJECT}/{SCOPE}/instanceGroups/{self.name}"
        groups = self.clients.of(compute_v1.RegionInstanceGroupsClient)
        ports = compute_v1.RegionInstanceGroupsSetNamedPortsRequest(
            named_ports=[compute_v1.NamedPort(name="http", port=8080)]
        )
        self.done(
            groups.set_named_ports_unary(
                project=PROJECT,
                region=REGION,
                instance_group=self.name,
                region_instance_groups_set_named_ports_request_resource=ports,
            )
        )
        backend = compute_v1.Backend({"group": group} | members)
        draining = compute_v1.ConnectionDraining(draining_timeout_sec=drain)
        service = backend_service(name, check, backends=[backend], connection_draining=draining)
        services = self.clients.of(compute_v1.BackendServicesClient)
        self.done(services.insert_unary(project=PROJECT, backend_service_resource=service))

    def autoscale(self, **members: Any) -> None:
        given = {"min_num_replicas": 1, "max_num_replicas": 10} | members
        resource = compute_v1.Autoscaler(
            name="auto",
            target=f"{SCOPE}/instanceGroupManagers/{self.name}",
            autoscaling_policy=compute_v1.AutoscalingPolicy(given),
        )
        scalers = self.clients.of(compute_v1.RegionAutoscalersClient)
        self.done(
            scalers.insert_unary(project=PROJECT, region=REGION, autoscaler_resource=resource)
        )

    def autoscaler(self) -> Any:
        return self.clients.of(compute_v1.RegionAutoscalersClient).get(
            project=PROJECT, region=REGION, autoscaler="auto"
        )

    # State

    def get(self) -> Any:
        return self.call("get")

    def instances(self) -> list[Any]:
        return list(self.call("list_managed_instances"))

    def by_version(self) -> dict[str, int]:
        """Running VMs by template, without those that are leaving."""
        return dict(
            Counter(
                each.version.instance_template.rpartition("/")[2]
                for each in self.instances()
                if each.instance_status == "RUNNING"
                and each.current_action in ("NONE", "VERIFYING", "REFRESHING")
            )
        )

    def current_actions(self) -> dict[str, int]:
        actions = self.get().current_actions
        return {name: count for name, count in type(actions).to_dict(actions).items() if count}

    def zones(self) -> dict[str, int]:
        return dict(
            Counter(each.instance.split("/zones/")[1][:13][-1] for each in self.instances())
        )

    def health(self, service: str = "bs") -> dict[str, int]:
        reference = compute_v1.ResourceGroupReference(
            group=f"projects/{PROJECT}/{SCOPE}/instanceGroups/{self.name}"
        )
        answer = self.clients.of(compute_v1.BackendServicesClient).get_health(
            project=PROJECT, backend_service=service, resource_group_reference_resource=reference
        )
        return dict(Counter(each.health_state for each in answer.health_status))

    def errors(self) -> list[Any]:
        return list(self.call("list_errors"))

    @property
    def controller(self) -> Group:
        found = group_at(self.cloud, Key(SCOPE, "instanceGroupManagers", self.name))
        assert found is not None
        return found

    # Time

    def run(self, seconds: float) -> None:
        """Advance event by event, checking the budgets after each."""
        until = self.clock.now() + seconds
        self.cloud.advance()
        while (upcoming := self.cloud.next_event_at()) is not None and upcoming <= until:
            self.clock.advance(max(0.0, upcoming - self.clock.now()))
            self.cloud.advance()
            self.check_budgets()
        self.clock.advance(max(0.0, until - self.clock.now()))
        self.cloud.advance()

    def settle(self, seconds: float = 3600) -> float:
        """Run until the group is stable; return the seconds it took."""
        began = self.clock.now()
        self.cloud.advance()
        while not self.get().status.is_stable:
            upcoming = self.cloud.next_event_at()
            assert upcoming is not None, f"no further event: {self.current_actions()}"
            assert upcoming - began <= seconds, (
                f"not stable after {seconds} s: {self.current_actions()}"
            )
            self.run(upcoming - self.clock.now())
        return self.clock.now() - began

    def check_budgets(self) -> None:
        """Check both budgets: at most target plus surge VMs, and once the floor was reached, never
        fewer available VMs than that.
        """
        group = self.controller
        members = group.members()
        intent = group.intent
        counted = [each for each in members if not each.is_leaving or each.is_replaced]
        assert len(counted) <= max(
            intent.target_size + intent.max_surge, self._largest(len(counted))
        )
        if self.floor_holds:
            available = sum(
                each.is_available(intent.healing.has_check)
                for each in members
                if not each.is_leaving
            )
            assert available >= intent.floor, f"{available} available, {intent.floor} needed"

    def _largest(self, count: int) -> int:
        """After a resize to fewer VMs, the larger previous count is allowed while it shrinks."""
        previous, self._last = getattr(self, "_last", 0), count
        return previous if previous >= count else 0
