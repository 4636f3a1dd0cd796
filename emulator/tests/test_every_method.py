"""Calls every method of the load-balancing and catalogue collections, checking each response.

A walk through google-cloud-compute that misses a method fails: the calls are compared with the
methods of the API.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock
from compute_emulator.api import discovery
from compute_emulator.api.collections import HANDLERS
from compute_emulator.api.wire import Request, handle
from emulator.tests.clients import PROJECT, REGION, Clients, backend_service, health_check, template
from emulator.tests.fleet import Fleet

GLOBAL = (
    *(
        "healthChecks",
        "backendServices",
        "urlMaps",
        "targetHttpProxies",
        "targetHttpsProxies",
        "sslCertificates",
    ),
    *(
        "globalForwardingRules",
        "globalAddresses",
        "instanceTemplates",
        "globalOperations",
        "firewalls",
    ),
)
REGIONAL = (
    *(
        "regionHealthChecks",
        "regionBackendServices",
        "regionUrlMaps",
        "regionTargetHttpProxies",
        "regionTargetHttpsProxies",
    ),
    *(
        "regionSslCertificates",
        "forwardingRules",
        "addresses",
        "regionInstanceTemplates",
        "regionOperations",
        "regionAutoscalers",
    ),
    *("regionInstanceGroups", "zoneOperations"),
)
CATALOGUE = ("regions", "zones", "machineTypes", "acceleratorTypes", "diskTypes")


class Walker:
    """Calls methods by their discovery names: `insert(HealthChecks, resource)` in a region or
    globally.
    """

    def __init__(self, clients: Clients, region: str = "") -> None:
        self.clients = clients
        self.place = {"project": PROJECT} | ({"region": region} if region else {})

    def call(self, client: Any, method: str, **members: Any) -> Any:
        handle = getattr(self.clients.of(client), method)(**self.place, **members)
        return self.clients.done(handle) if method.endswith("_unary") else handle

    def permissions(self, client: Any, name: str, *, policy: bool = False) -> None:
        request = compute_v1.TestPermissionsRequest(permissions=["compute.any"])
        handle = self.call(
            client, "test_iam_permissions", resource=name, test_permissions_request_resource=request
        )
        assert list(handle.permissions) == ["compute.any"]
        if not policy:
            return
        kept = self.call(client, "get_iam_policy", resource=name)
        binding = compute_v1.Binding(role="roles/x", members=["user:a@example.com"])
        given = compute_v1.Policy(bindings=[binding], etag=kept.etag)
        field = (
            "region_set_policy_request_resource"
            if "region" in self.place
            else "global_set_policy_request_resource"
        )
        kind = (
            compute_v1.RegionSetPolicyRequest
            if "region" in self.place
            else compute_v1.GlobalSetPolicyRequest
        )
        self.call(client, "set_iam_policy", resource=name, **{field: kind(policy=given)})
        assert self.call(client, "get_iam_policy", resource=name).bindings[0].role == "roles/x"
        with pytest.raises(exceptions.PreconditionFailed):
            self.call(client, "set_iam_policy", resource=name, **{field: kind(policy=given)})


def unused(cloud: Cloud, *collections: str) -> set[str]:
    """Methods of collections that were never called."""
    known = {method for method in discovery.methods() if method.split(".")[1] in collections}
    return known - set(cloud.calls.counts)


def check_list(handle: Any, name: str) -> None:
    assert name in [each.name for each in handle]


def check_aggregated_list(walker: Walker, client: Any, member: str, name: str) -> None:
    scopes = dict(walker.clients.of(client).aggregated_list(project=PROJECT))
    assert name in [each.name for scope in scopes.values() for each in getattr(scope, member)]


def walk_checks(walker: Walker, client: Any) -> None:
    walker.call(client, "insert_unary", health_check_resource=health_check("probe"))
    walker.call(
        client,
        "patch_unary",
        health_check="probe",
        health_check_resource=compute_v1.HealthCheck(check_interval_sec=9),
    )
    whole = walker.call(client, "get", health_check="probe")
    assert whole.check_interval_sec == 9
    walker.call(client, "update_unary", health_check="probe", health_check_resource=whole)
    check_list(walker.call(client, "list"), "probe")
    walker.permissions(client, "probe")


def walk_services(walker: Walker, client: Any, check: str, group: str) -> None:
    resource = backend_service(health_checks=[check], backends=[compute_v1.Backend(group=group)])
    walker.call(client, "insert_unary", backend_service_resource=resource)
    kept = walker.call(client, "get", backend_service="bs")
    change = compute_v1.BackendService(timeout_sec=77, fingerprint=kept.fingerprint)
    walker.call(client, "patch_unary", backend_service="bs", backend_service_resource=change)
    kept = walker.call(client, "get", backend_service="bs")
    assert kept.timeout_sec == 77
    walker.call(client, "update_unary", backend_service="bs", backend_service_resource=kept)
    reference = compute_v1.ResourceGroupReference(group=group)
    health = walker.call(
        client, "get_health", backend_service="bs", resource_group_reference_resource=reference
    )
    assert {each.health_state for each in health.health_status} <= {"HEALTHY", "UNHEALTHY"}
    check_list(walker.call(client, "list"), "bs")
    check_list(walker.call(client, "list_usable"), "bs")
    walker.permissions(client, "bs", policy=True)
    policy = compute_v1.SecurityPolicyReference(security_policy="global/securityPolicies/armor")
    walker.call(
        client,
        "set_security_policy_unary",
        backend_service="bs",
        security_policy_reference_resource=policy,
    )
    assert walker.call(client, "get", backend_service="bs").security_policy.endswith("armor")


def walk_routing(
    walker: Walker, maps: Any, http: Any, https: Any, certificates: Any, service: str
) -> None:
    url_map = compute_v1.UrlMap(name="um", default_service=service)
    walker.call(maps, "insert_unary", url_map_resource=url_map)
    walker.call(
        maps, "patch_unary", url_map="um", url_map_resource=compute_v1.UrlMap(description="one")
    )
    kept = walker.call(maps, "get", url_map="um")
    walker.call(maps, "update_unary", url_map="um", url_map_resource=kept)
    check_list(walker.call(maps, "list"), "um")
    regional = "region" in walker.place
    field = (
        "region_url_maps_validate_request_resource"
        if regional
        else "url_maps_validate_request_resource"
    )
    kind = (
        compute_v1.RegionUrlMapsValidateRequest if regional else compute_v1.UrlMapsValidateRequest
    )
    assert walker.call(
        maps, "validate", url_map="um", **{field: kind(resource=url_map)}
    ).result.load_succeeded

    link = kept.self_link
    walker.call(
        http,
        "insert_unary",
        target_http_proxy_resource=compute_v1.TargetHttpProxy(name="tp", url_map=link),
    )
    reference = compute_v1.UrlMapReference(url_map=link)
    walker.call(
        http, "set_url_map_unary", target_http_proxy="tp", url_map_reference_resource=reference
    )
    assert walker.call(http, "get", target_http_proxy="tp").url_map == link
    check_list(walker.call(http, "list"), "tp")

    certificate = compute_v1.SslCertificate(name="cert", certificate="---", private_key="---")
    walker.call(certificates, "insert_unary", ssl_certificate_resource=certificate)
    check_list(walker.call(certificates, "list"), "cert")
    cert = walker.call(certificates, "get", ssl_certificate="cert").self_link
    proxy = compute_v1.TargetHttpsProxy(name="tps", url_map=link, ssl_certificates=[cert])
    walker.call(https, "insert_unary", target_https_proxy_resource=proxy)
    walker.call(
        https, "set_url_map_unary", target_https_proxy="tps", url_map_reference_resource=reference
    )
    kept_proxy = walker.call(https, "get", target_https_proxy="tps")
    change = compute_v1.TargetHttpsProxy(description="d", fingerprint=kept_proxy.fingerprint)
    walker.call(https, "patch_unary", target_https_proxy="tps", target_https_proxy_resource=change)
    check_list(walker.call(https, "list"), "tps")
    name = ("Region" if regional else "") + "TargetHttpsProxiesSetSslCertificatesRequest"
    request = getattr(compute_v1, name)(ssl_certificates=[cert])
    member = (
        "region_" if regional else ""
    ) + "target_https_proxies_set_ssl_certificates_request_resource"
    walker.call(https, "set_ssl_certificates_unary", target_https_proxy="tps", **{member: request})


def walk_front(walker: Walker, rules: Any, addresses: Any, proxy: str) -> None:
    regional = "region" in walker.place
    place = f"projects/{PROJECT}/regions/{REGION}" if regional else f"projects/{PROJECT}/global"
    walker.call(addresses, "insert_unary", address_resource=compute_v1.Address(name="a1"))
    check_list(walker.call(addresses, "list"), "a1")
    kept = walker.call(addresses, "get", address="a1")
    name = "RegionSetLabelsRequest" if regional else "GlobalSetLabelsRequest"
    field = (
        "region_set_labels_request_resource" if regional else "global_set_labels_request_resource"
    )
    labels = getattr(compute_v1, name)(labels={"a": "b"}, label_fingerprint=kept.label_fingerprint)
    walker.call(addresses, "set_labels_unary", resource="a1", **{field: labels})
    walker.permissions(addresses, "a1")
    name = "RegionAddressesMoveRequest" if regional else "GlobalAddressesMoveRequest"
    field = (
        "region_addresses_move_request_resource"
        if regional
        else "global_addresses_move_request_resource"
    )
    moved = getattr(compute_v1, name)(destination_address=f"{place}/addresses/a2")
    walker.call(addresses, "move_unary", address="a1", **{field: moved})
    assert walker.call(addresses, "get", address="a2").address == kept.address

    rule = compute_v1.ForwardingRule(
        name="fr",
        target=proxy,
        port_range="80",
        load_balancing_scheme="EXTERNAL_MANAGED",
        I_p_address=kept.address,
    )
    walker.call(rules, "insert_unary", forwarding_rule_resource=rule)
    kept_rule = walker.call(rules, "get", forwarding_rule="fr")
    check_list(walker.call(rules, "list"), "fr")
    change = compute_v1.ForwardingRule(allow_global_access=True, fingerprint=kept_rule.fingerprint)
    walker.call(rules, "patch_unary", forwarding_rule="fr", forwarding_rule_resource=change)
    target = compute_v1.TargetReference(target=proxy)
    walker.call(rules, "set_target_unary", forwarding_rule="fr", target_reference_resource=target)
    name = "RegionSetLabelsRequest" if regional else "GlobalSetLabelsRequest"
    field = (
        "region_set_labels_request_resource" if regional else "global_set_labels_request_resource"
    )
    labels = getattr(compute_v1, name)(
        labels={"c": "d"}, label_fingerprint=kept_rule.label_fingerprint
    )
    walker.call(rules, "set_labels_unary", resource="fr", **{field: labels})
    assert walker.call(rules, "get", forwarding_rule="fr").labels == {"c": "d"}
    walker.call(rules, "delete_unary", forwarding_rule="fr")
    walker.call(addresses, "delete_unary", address="a2")


def walk_down(walker: Walker, *steps: tuple[Any, str, str]) -> None:
    for client, member, name in steps:
        walker.call(client, "delete_unary", **{member: name})
        with pytest.raises(exceptions.NotFound):
            walker.call(client, "get", **{member: name})


def walk_operations(walker: Walker, client: Any) -> None:
    operations = list(walker.call(client, "list"))
    assert {each.status for each in operations} == {compute_v1.Operation.Status.DONE}
    name = operations[0].name
    assert (
        walker.call(client, "get", operation=name).name
        == walker.call(client, "wait", operation=name).name
    )
    walker.call(client, "delete", operation=name)
    with pytest.raises(exceptions.NotFound):
        walker.call(client, "get", operation=name)


@pytest.fixture
def group(clients: Clients, clock: VirtualClock) -> str:
    fleet = Fleet(clients, clock)
    fleet.create(3)
    fleet.settle()
    return str(fleet.get().instance_group)


def test_every_global_method(clients: Clients, group: str) -> None:
    walker = Walker(clients)
    walk_checks(walker, compute_v1.HealthChecksClient)
    walk_services(walker, compute_v1.BackendServicesClient, "global/healthChecks/probe", group)
    services = compute_v1.BackendServicesClient
    policy = compute_v1.SecurityPolicyReference(security_policy="global/securityPolicies/edge")
    walker.call(
        services,
        "set_edge_security_policy_unary",
        backend_service="bs",
        security_policy_reference_resource=policy,
    )
    walker.call(services, "get_effective_security_policies", backend_service="bs")
    key = compute_v1.SignedUrlKey(key_name="k", key_value="aaaaaaaaaaaaaaaaaaaaaa==")
    walker.call(
        services, "add_signed_url_key_unary", backend_service="bs", signed_url_key_resource=key
    )
    assert walker.call(services, "get", backend_service="bs").cdn_policy.signed_url_key_names == [
        "k"
    ]
    walker.call(services, "delete_signed_url_key_unary", backend_service="bs", key_name="k")
    maps, http, https = (
        compute_v1.UrlMapsClient,
        compute_v1.TargetHttpProxiesClient,
        compute_v1.TargetHttpsProxiesClient,
    )
    certificates = compute_v1.SslCertificatesClient
    walk_routing(walker, maps, http, https, certificates, "global/backendServices/bs")
    walker.permissions(maps, "um")
    rule = compute_v1.CacheInvalidationRule(path="/*")
    walker.call(maps, "invalidate_cache_unary", url_map="um", cache_invalidation_rule_resource=rule)
    proxy = walker.call(http, "get", target_http_proxy="tp")
    change = compute_v1.TargetHttpProxy(description="d", fingerprint=proxy.fingerprint)
    walker.call(http, "patch_unary", target_http_proxy="tp", target_http_proxy_resource=change)
    walk_https(walker)
    walk_front(
        walker,
        compute_v1.GlobalForwardingRulesClient,
        compute_v1.GlobalAddressesClient,
        proxy.self_link,
    )
    templates = compute_v1.InstanceTemplatesClient
    walker.call(templates, "insert_unary", instance_template_resource=template("plain"))
    check_list(walker.call(templates, "list"), "plain")
    walker.permissions(templates, "plain", policy=True)
    walk_firewalls(walker)
    for client, member, name in (
        (compute_v1.HealthChecksClient, "health_checks", "probe"),
        (services, "backend_services", "bs"),
        (maps, "url_maps", "um"),
        (http, "target_http_proxies", "tp"),
        (https, "target_https_proxies", "tps"),
        (certificates, "ssl_certificates", "cert"),
        (templates, "instance_templates", "plain"),
    ):
        check_aggregated_list(walker, client, member, name)
    walk_down(
        walker,
        (https, "target_https_proxy", "tps"),
        (http, "target_http_proxy", "tp"),
        (maps, "url_map", "um"),
        (certificates, "ssl_certificate", "cert"),
        (services, "backend_service", "bs"),
        (templates, "instance_template", "plain"),
    )
    other = health_check("gone")
    walker.call(compute_v1.HealthChecksClient, "insert_unary", health_check_resource=other)
    walk_down(walker, (compute_v1.HealthChecksClient, "health_check", "gone"))
    walk_operations(walker, compute_v1.GlobalOperationsClient)
    list(clients.of(compute_v1.GlobalOperationsClient).aggregated_list(project=PROJECT))
    assert unused(clients.cloud, *GLOBAL) == set()


def walk_https(walker: Walker) -> None:
    https = compute_v1.TargetHttpsProxiesClient
    quic = compute_v1.TargetHttpsProxiesSetQuicOverrideRequest(quic_override="ENABLE")
    member = "target_https_proxies_set_quic_override_request_resource"
    walker.call(https, "set_quic_override_unary", target_https_proxy="tps", **{member: quic})
    policy = compute_v1.SslPolicyReference(ssl_policy="global/sslPolicies/modern")
    walker.call(
        https,
        "set_ssl_policy_unary",
        target_https_proxy="tps",
        ssl_policy_reference_resource=policy,
    )
    link = "//certificatemanager.googleapis.com/projects/demo/locations/global/certificateMaps/m"
    request = compute_v1.TargetHttpsProxiesSetCertificateMapRequest(certificate_map=link)
    member = "target_https_proxies_set_certificate_map_request_resource"
    walker.call(https, "set_certificate_map_unary", target_https_proxy="tps", **{member: request})
    kept = walker.call(https, "get", target_https_proxy="tps")
    assert (kept.quic_override, kept.certificate_map) == ("ENABLE", link)


def walk_firewalls(walker: Walker) -> None:
    firewalls = compute_v1.FirewallsClient
    allowed = compute_v1.Allowed(I_p_protocol="tcp", ports=["80"])
    walker.call(
        firewalls,
        "insert_unary",
        firewall_resource=compute_v1.Firewall(name="fw", allowed=[allowed]),
    )
    walker.call(
        firewalls, "patch_unary", firewall="fw", firewall_resource=compute_v1.Firewall(priority=5)
    )
    kept = walker.call(firewalls, "get", firewall="fw")
    assert kept.priority == 5
    walker.call(firewalls, "update_unary", firewall="fw", firewall_resource=kept)
    check_list(walker.call(firewalls, "list"), "fw")
    walker.permissions(firewalls, "fw")
    walk_down(walker, (firewalls, "firewall", "fw"))


def test_every_regional_method(clients: Clients, group: str) -> None:
    walker = Walker(clients, REGION)
    checks, services = compute_v1.RegionHealthChecksClient, compute_v1.RegionBackendServicesClient
    walk_checks(walker, checks)
    walk_services(walker, services, f"regions/{REGION}/healthChecks/probe", group)
    maps, http = compute_v1.RegionUrlMapsClient, compute_v1.RegionTargetHttpProxiesClient
    https, certificates = (
        compute_v1.RegionTargetHttpsProxiesClient,
        compute_v1.RegionSslCertificatesClient,
    )
    walk_routing(walker, maps, http, https, certificates, f"regions/{REGION}/backendServices/bs")
    proxy = walker.call(http, "get", target_http_proxy="tp").self_link
    walk_front(walker, compute_v1.ForwardingRulesClient, compute_v1.AddressesClient, proxy)
    check_aggregated_list(walker, compute_v1.BackendServicesClient, "backend_services", "bs")
    list(clients.of(compute_v1.ForwardingRulesClient).aggregated_list(project=PROJECT))
    list(clients.of(compute_v1.AddressesClient).aggregated_list(project=PROJECT))
    templates = compute_v1.RegionInstanceTemplatesClient
    walker.call(templates, "insert_unary", instance_template_resource=template("plain"))
    check_list(walker.call(templates, "list"), "plain")
    walk_autoscaler(walker)
    walk_group(walker)
    walk_down(
        walker,
        (https, "target_https_proxy", "tps"),
        (http, "target_http_proxy", "tp"),
        (maps, "url_map", "um"),
        (certificates, "ssl_certificate", "cert"),
        (services, "backend_service", "bs"),
        (checks, "health_check", "probe"),
        (templates, "instance_template", "plain"),
    )
    walk_operations(walker, compute_v1.RegionOperationsClient)
    zonal = clients.of(compute_v1.ZoneOperationsClient)
    zone = {"project": PROJECT, "zone": f"{REGION}-a"}
    assert list(zonal.list(**zone)) == []
    for method in (zonal.get, zonal.wait, zonal.delete):
        with pytest.raises(exceptions.NotFound):
            method(operation="none", **zone)
    assert unused(clients.cloud, *REGIONAL) == set()


def walk_autoscaler(walker: Walker) -> None:
    scalers = compute_v1.RegionAutoscalersClient
    policy = compute_v1.AutoscalingPolicy(min_num_replicas=1, max_num_replicas=4)
    target = f"regions/{REGION}/instanceGroupManagers/tiny"
    resource = compute_v1.Autoscaler(name="auto", target=target, autoscaling_policy=policy)
    walker.call(scalers, "insert_unary", autoscaler_resource=resource)
    change = compute_v1.Autoscaler(
        name="auto", autoscaling_policy=compute_v1.AutoscalingPolicy(max_num_replicas=5)
    )
    walker.call(scalers, "patch_unary", autoscaler_resource=change)
    assert walker.call(scalers, "get", autoscaler="auto").autoscaling_policy.max_num_replicas == 5
    walker.call(scalers, "update_unary", autoscaler_resource=resource)
    check_list(walker.call(scalers, "list"), "auto")
    walker.permissions(scalers, "auto")
    walk_down(walker, (scalers, "autoscaler", "auto"))


def walk_group(walker: Walker) -> None:
    groups = compute_v1.RegionInstanceGroupsClient
    kept = walker.call(groups, "get", instance_group="tiny")
    assert kept.size == 3
    check_list(walker.call(groups, "list"), "tiny")
    ports = compute_v1.RegionInstanceGroupsSetNamedPortsRequest(
        named_ports=[compute_v1.NamedPort(name="http", port=80)], fingerprint=kept.fingerprint
    )
    member = "region_instance_groups_set_named_ports_request_resource"
    walker.call(groups, "set_named_ports_unary", instance_group="tiny", **{member: ports})
    request = compute_v1.RegionInstanceGroupsListInstancesRequest(instance_state="ALL")
    member = "region_instance_groups_list_instances_request_resource"
    assert (
        len(list(walker.call(groups, "list_instances", instance_group="tiny", **{member: request})))
        == 3
    )
    walker.permissions(groups, "tiny")


def test_every_method_of_the_catalogue(clients: Clients) -> None:
    regions, zones = clients.of(compute_v1.RegionsClient), clients.of(compute_v1.ZonesClient)
    assert regions.get(project=PROJECT, region=REGION).name in [
        each.name for each in regions.list(project=PROJECT)
    ]
    assert zones.get(project=PROJECT, zone=f"{REGION}-a").region.endswith(REGION)
    assert len(list(zones.list(project=PROJECT))) > 10
    for kind, member, name, several in (
        (compute_v1.MachineTypesClient, "machine_type", "n1-standard-1", "machine_types"),
        (compute_v1.AcceleratorTypesClient, "accelerator_type", "nvidia-l4", "accelerator_types"),
        (compute_v1.DiskTypesClient, "disk_type", "pd-ssd", "disk_types"),
    ):
        client = clients.of(kind)
        place = {"project": PROJECT, "zone": f"{REGION}-b"}
        assert client.get(**place, **{member: name}).name == name
        check_list(client.list(**place), name)
        request = {"project": PROJECT, "filter": f"name={name}"}
        found = [
            each.name
            for _, scope in client.aggregated_list(request=request)
            for each in getattr(scope, several)
        ]
        everywhere = sum(map(len, clients.cloud.regions.values()))
        assert 3 < len(found) <= everywhere
    assert unused(clients.cloud, *CATALOGUE) == set()


def test_an_unimplemented_method_is_named(cloud: Cloud) -> None:
    absent = [
        method
        for method in discovery.methods().values()
        if method.id not in HANDLERS and "{+" not in method.path
    ]
    assert len(absent) > 100
    for method in absent:
        path = re.sub(
            r"\{(\w+)\}", lambda found: "demo" if found[1] == "project" else "a", method.path
        )
        answered = handle(cloud, Request(method.http, f"/compute/v1/{path}", b"{}"))
        assert answered.status == 501, method.id
        assert method.id in json.loads(answered.body)["error"]["message"]
