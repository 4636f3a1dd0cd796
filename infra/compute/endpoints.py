"""A table of the Compute client's service for each collection, and of the request fields that its
methods take. No behaviour.

The methods are regular: a request takes the resource's name in the field `name`, its body in the
field `body` (both by JSON name), and a region in `region`. Exceptions are listed. To add a
collection, add one entry. Used by `infra/compute/client.py` and `calls.py`. Source: request
messages of google-cloud-compute 1.57.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from infra.fleet.model import Collection, Verb
from infra.fleet.preflight import Catalogue
from rollout.deferred import dataclass


@dataclass(frozen=True)
class Endpoint:
    """`body` is the field in which insert, update and patch take the resource; `bodies` lists the
    verbs that take another field instead.
    """

    service: str
    client: str
    name: str
    body: str = ""
    verbs: tuple[Verb, ...] = ("insert", "delete")
    bodies: Mapping[str, str] = field(default_factory=dict)
    is_regional: bool = False


ENDPOINTS: Mapping[Collection, Endpoint] = {
    "instanceTemplates": Endpoint(
        service="instance_templates",
        client="InstanceTemplatesClient",
        name="instanceTemplate",
        body="instanceTemplateResource",
    ),
    "healthChecks": Endpoint(
        service="health_checks",
        client="HealthChecksClient",
        name="healthCheck",
        body="healthCheckResource",
        verbs=("insert", "update", "patch", "delete"),
    ),
    "regionInstanceGroupManagers": Endpoint(
        service="region_instance_group_managers",
        client="RegionInstanceGroupManagersClient",
        name="instanceGroupManager",
        body="instanceGroupManagerResource",
        verbs=("insert", "patch", "delete"),
        is_regional=True,
    ),
    "regionInstanceGroups": Endpoint(
        service="region_instance_groups",
        client="RegionInstanceGroupsClient",
        name="instanceGroup",
        verbs=("setNamedPorts",),
        bodies={"setNamedPorts": "regionInstanceGroupsSetNamedPortsRequestResource"},
        is_regional=True,
    ),
    "regionAutoscalers": Endpoint(
        service="region_autoscalers",
        client="RegionAutoscalersClient",
        name="autoscaler",  # update and patch send it in the query, not in the path
        body="autoscalerResource",
        verbs=("insert", "update", "patch", "delete"),
        is_regional=True,
    ),
    "backendServices": Endpoint(
        service="backend_services",
        client="BackendServicesClient",
        name="backendService",
        body="backendServiceResource",
        verbs=("insert", "update", "patch", "delete"),
    ),
    "urlMaps": Endpoint(
        service="url_maps",
        client="UrlMapsClient",
        name="urlMap",
        body="urlMapResource",
        verbs=("insert", "update", "patch", "delete"),
    ),
    "targetHttpProxies": Endpoint(
        service="target_http_proxies",
        client="TargetHttpProxiesClient",
        name="targetHttpProxy",
        body="targetHttpProxyResource",
        verbs=("insert", "patch", "delete"),
    ),
    "targetHttpsProxies": Endpoint(
        service="target_https_proxies",
        client="TargetHttpsProxiesClient",
        name="targetHttpsProxy",
        body="targetHttpsProxyResource",
        verbs=("insert", "patch", "delete", "setSslCertificates"),
        bodies={"setSslCertificates": "targetHttpsProxiesSetSslCertificatesRequestResource"},
    ),
    "globalForwardingRules": Endpoint(
        service="global_forwarding_rules",
        client="GlobalForwardingRulesClient",
        name="forwardingRule",
        body="forwardingRuleResource",
        verbs=("insert", "patch", "delete", "setTarget"),
        bodies={"setTarget": "targetReferenceResource"},
    ),
    "globalAddresses": Endpoint(
        service="global_addresses",
        client="GlobalAddressesClient",
        name="address",
        body="addressResource",
    ),
}

GLOBAL_OPERATIONS = Endpoint(
    service="global_operations", client="GlobalOperationsClient", name="operation"
)
REGION_OPERATIONS = Endpoint(
    service="region_operations", client="RegionOperationsClient", name="operation", is_regional=True
)

ZONE_OPERATIONS = Endpoint(
    service="zone_operations", client="ZoneOperationsClient", name="operation"
)

AGGREGATED: Mapping[Collection, tuple[Endpoint, str]] = {
    "regionInstanceGroupManagers": (
        Endpoint(service="instance_group_managers", client="InstanceGroupManagersClient", name=""),
        "instanceGroupManagers",
    ),
    "regionAutoscalers": (
        Endpoint(service="autoscalers", client="AutoscalersClient", name=""),
        "autoscalers",
    ),
}
"""The service that lists a regional collection for all regions at once, and the field that holds
the resources in each scope of the answer. It is the zonal collection's service; the answer covers
zones and regions."""

CATALOGUES: Mapping[Catalogue, Endpoint] = {
    "regions": Endpoint(service="regions", client="RegionsClient", name="region"),
    "machineTypes": Endpoint(service="machine_types", client="MachineTypesClient", name=""),
    "acceleratorTypes": Endpoint(
        service="accelerator_types", client="AcceleratorTypesClient", name=""
    ),
    "diskTypes": Endpoint(service="disk_types", client="DiskTypesClient", name=""),
    "networks": Endpoint(service="networks", client="NetworksClient", name="network"),
    "subnetworks": Endpoint(
        service="subnetworks", client="SubnetworksClient", name="subnetwork", is_regional=True
    ),
    "images": Endpoint(service="images", client="ImagesClient", name="image"),
    "imageFamilies": Endpoint(service="images", client="ImagesClient", name="family"),
    "sslCertificates": Endpoint(
        service="ssl_certificates", client="SslCertificatesClient", name="sslCertificate"
    ),
}
"""What a release may refer to and Slipway only reads. Those without a name are listed in all
zones."""

RPCS: Mapping[str, str] = {
    "insert": "insert",
    "update": "update",
    "patch": "patch",
    "delete": "delete",
    "setNamedPorts": "set_named_ports",
    "setSslCertificates": "set_ssl_certificates",
    "setTarget": "set_target",
}
"""The client's RPC for each verb."""

REFERENCES = frozenset(
    (
        *(
            "IPAddress",
            "backendService",
            "defaultService",
            "group",
            "healthCheck",
            "healthChecks",
            "instanceTemplate",
            "network",
        ),
        *("service", "sourceImage", "sslCertificates", "subnetwork", "target", "urlMap", "zone"),
    )
)
"""Fields that refer to other resources. The API accepts partial URLs in most of them, but not in a
backend's `group`, so all of them are sent as full URLs."""
