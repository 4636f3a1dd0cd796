"""Which service of the Compute client stands behind each collection, and how its methods want to be
called. A table, no behaviour.

The client's methods are regular: the resource's own name goes by `name`, its body by `body` (in the
request message's JSON names), a region by `region`. What is irregular stands here by name.
`infra/compute/calls.py` reads the table; a collection is added with one row. Source: request
messages of google-cloud-compute 1.57."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.fleet.model import Collection, Verb


@dataclass(frozen=True)
class Endpoint:
    """`body` is where inserts, updates and patches take the resource; `bodies` are the verbs that
    take something else instead."""

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
        name="autoscaler",  # of updates and patches in the query, not in the path: the request message sees to it
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
"""Where a regional collection is listed for all regions at once, and what each scope of the answer
calls it. The zonal collection's service has that method; the answer has zones and regions."""

METHODS: Mapping[str, str] = {
    "insert": "insert_unary",
    "update": "update_unary",
    "patch": "patch_unary",
    "delete": "delete_unary",
    "setNamedPorts": "set_named_ports_unary",
    "setSslCertificates": "set_ssl_certificates_unary",
    "setTarget": "set_target_unary",
}
"""The client's methods by our verbs. Only `_unary` ones: the others poll their operation at the
public endpoint, whatever endpoint is set."""

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
"""Fields that name other resources. The API takes partial URLs in most of them, and not in a
backend's `group`: so they are all sent in full."""
