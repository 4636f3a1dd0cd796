"""The IAM permissions that the reconciler's Compute API methods require. A table, no behavior.

`deploy/roles/reconciler.yaml` grants exactly these, and the reconciler tests whether it has them
(`infra/identity/needs.py`). `tests/test_roles.py` compares both with the methods that Slipway
calls. Source: Compute API reference, "IAM permissions" of each method and of
the fields that name other resources. A group creates instances on behalf of its caller, so creating
or changing a group requires the permissions of its instances; acting as their service account is
granted on that account only.
"""

from __future__ import annotations

from collections.abc import Mapping

_INSTANCES = (
    "compute.disks.create",
    "compute.images.useReadOnly",
    "compute.instances.create",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setServiceAccount",
    "compute.instances.setTags",
    "compute.instanceTemplates.useReadOnly",
    "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp",
)
_GROUP_UPDATE = ("compute.instanceGroupManagers.get", "compute.instanceGroupManagers.update")
_BACKENDS = ("compute.healthChecks.useReadOnly", "compute.instanceGroups.use")

PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "compute.acceleratorTypes.aggregatedList": ("compute.acceleratorTypes.list",),
    "compute.diskTypes.aggregatedList": ("compute.diskTypes.list",),
    "compute.images.get": ("compute.images.get",),
    "compute.images.getFromFamily": ("compute.images.getFromFamily",),
    "compute.machineTypes.aggregatedList": ("compute.machineTypes.list",),
    "compute.networks.get": ("compute.networks.get",),
    "compute.regions.get": ("compute.regions.get",),
    "compute.sslCertificates.get": ("compute.sslCertificates.get",),
    "compute.subnetworks.get": ("compute.subnetworks.get",),
    "compute.autoscalers.aggregatedList": ("compute.autoscalers.list",),
    "compute.backendServices.delete": ("compute.backendServices.delete",),
    "compute.backendServices.get": ("compute.backendServices.get",),
    "compute.backendServices.getHealth": ("compute.backendServices.get",),
    "compute.backendServices.insert": ("compute.backendServices.create", *_BACKENDS),
    "compute.backendServices.list": ("compute.backendServices.list",),
    "compute.backendServices.patch": (
        "compute.backendServices.get",
        "compute.backendServices.update",
        *_BACKENDS,
    ),
    "compute.globalAddresses.get": ("compute.globalAddresses.get",),
    "compute.globalAddresses.insert": ("compute.globalAddresses.create",),
    "compute.globalForwardingRules.get": ("compute.globalForwardingRules.get",),
    "compute.globalForwardingRules.insert": (
        "compute.globalAddresses.use",
        "compute.globalForwardingRules.create",
        "compute.targetHttpProxies.use",
        "compute.targetHttpsProxies.use",
    ),
    "compute.globalForwardingRules.setTarget": (
        "compute.globalForwardingRules.setTarget",
        "compute.targetHttpProxies.use",
        "compute.targetHttpsProxies.use",
    ),
    "compute.globalOperations.list": ("compute.globalOperations.list",),
    "compute.globalOperations.wait": ("compute.globalOperations.get",),
    "compute.healthChecks.delete": ("compute.healthChecks.delete",),
    "compute.healthChecks.get": ("compute.healthChecks.get",),
    "compute.healthChecks.insert": ("compute.healthChecks.create",),
    "compute.healthChecks.list": ("compute.healthChecks.list",),
    "compute.healthChecks.update": ("compute.healthChecks.update",),
    "compute.instanceGroupManagers.aggregatedList": ("compute.instanceGroupManagers.list",),
    "compute.instanceTemplates.delete": ("compute.instanceTemplates.delete",),
    "compute.instanceTemplates.get": ("compute.instanceTemplates.get",),
    "compute.instanceTemplates.insert": ("compute.instanceTemplates.create",),
    "compute.instanceTemplates.list": ("compute.instanceTemplates.list",),
    "compute.regionAutoscalers.delete": ("compute.autoscalers.delete",),
    "compute.regionAutoscalers.get": ("compute.autoscalers.get",),
    "compute.regionAutoscalers.insert": (
        "compute.autoscalers.create",
        "compute.instanceGroupManagers.use",
    ),
    "compute.regionAutoscalers.patch": (
        "compute.autoscalers.update",
        "compute.instanceGroupManagers.use",
    ),
    "compute.regionAutoscalers.update": (
        "compute.autoscalers.update",
        "compute.instanceGroupManagers.use",
    ),
    "compute.regionInstanceGroupManagers.delete": (
        "compute.instanceGroupManagers.delete",
        "compute.instanceGroups.delete",
    ),
    "compute.regionInstanceGroupManagers.get": ("compute.instanceGroupManagers.get",),
    "compute.regionInstanceGroupManagers.insert": (
        "compute.healthChecks.useReadOnly",
        "compute.instanceGroupManagers.create",
        "compute.instanceGroups.create",
        *_INSTANCES,
    ),
    "compute.regionInstanceGroupManagers.listManagedInstances": (
        "compute.instanceGroupManagers.get",
    ),
    "compute.regionInstanceGroupManagers.patch": (
        "compute.healthChecks.useReadOnly",
        *_GROUP_UPDATE,
        *_INSTANCES,
    ),
    "compute.regionInstanceGroups.setNamedPorts": (
        "compute.instanceGroupManagers.update",
        "compute.instanceGroups.update",
    ),
    "compute.regionOperations.wait": ("compute.regionOperations.get",),
    "compute.targetHttpProxies.get": ("compute.targetHttpProxies.get",),
    "compute.targetHttpProxies.insert": ("compute.targetHttpProxies.create", "compute.urlMaps.use"),
    "compute.targetHttpProxies.patch": (
        "compute.targetHttpProxies.get",
        "compute.targetHttpProxies.update",
        "compute.urlMaps.use",
    ),
    "compute.targetHttpsProxies.get": ("compute.targetHttpsProxies.get",),
    "compute.targetHttpsProxies.insert": (
        "compute.sslCertificates.get",
        "compute.targetHttpsProxies.create",
        "compute.urlMaps.use",
    ),
    "compute.targetHttpsProxies.patch": (
        "compute.sslCertificates.get",
        "compute.targetHttpsProxies.get",
        "compute.targetHttpsProxies.update",
        "compute.urlMaps.use",
    ),
    "compute.urlMaps.get": ("compute.urlMaps.get",),
    "compute.urlMaps.insert": ("compute.backendServices.use", "compute.urlMaps.create"),
    "compute.urlMaps.list": ("compute.urlMaps.list",),
    "compute.urlMaps.update": ("compute.backendServices.use", "compute.urlMaps.update"),
    "compute.zoneOperations.list": ("compute.zoneOperations.list",),
}
