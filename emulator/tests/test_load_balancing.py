"""Health checks, backend services, URL maps, proxies, forwarding rules and addresses, as a chain
and individually.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key
from emulator.tests.clients import PROJECT, REGION, Clients, backend_service, health_check

GROUP = Key(f"regions/{REGION}", "instanceGroups", "fleet")


def link(collection: str, name: str) -> str:
    return f"projects/{PROJECT}/global/{collection}/{name}"


def make(clients: Clients, kind: Any, member: str, resource: Any) -> Any:
    return clients.done(clients.of(kind).insert_unary(**{"project": PROJECT, member: resource}))


def make_services(clients: Clients, *names: str, **members: Any) -> None:
    make(clients, compute_v1.HealthChecksClient, "health_check_resource", health_check())
    for name in names or ("bs",):
        make(
            clients,
            compute_v1.BackendServicesClient,
            "backend_service_resource",
            backend_service(name, **members),
        )


def make_url_map(clients: Clients, **members: Any) -> None:
    given = {"name": "um", "default_service": link("backendServices", "bs")} | members
    make(clients, compute_v1.UrlMapsClient, "url_map_resource", compute_v1.UrlMap(given))


def make_chain(clients: Clients) -> None:
    """Everything from health check to forwarding rule."""
    make_services(clients)
    make_url_map(clients)
    proxy = compute_v1.TargetHttpProxy(name="tp", url_map=link("urlMaps", "um"))
    make(clients, compute_v1.TargetHttpProxiesClient, "target_http_proxy_resource", proxy)
    rule = compute_v1.ForwardingRule(
        name="fr",
        target=link("targetHttpProxies", "tp"),
        port_range="80",
        load_balancing_scheme="EXTERNAL_MANAGED",
    )
    make(clients, compute_v1.GlobalForwardingRulesClient, "forwarding_rule_resource", rule)


def put_group(cloud: Cloud) -> str:
    """Store an instance group as a managed group would."""
    cloud.new("compute#instanceGroup", GROUP, {"name": GROUP.name})
    return cloud.link(*GROUP)


def test_a_whole_chain_is_created_and_deleted_in_reverse(either: Clients) -> None:
    make_chain(either)
    rule = either.of(compute_v1.GlobalForwardingRulesClient).get(
        project=PROJECT, forwarding_rule="fr"
    )
    assert rule.port_range == "80-80"
    assert rule.I_p_address
    assert rule.target.startswith(
        "https://www.googleapis.com/compute/v1/projects/demo/global/targetHttpProxies/"
    )
    for kind, member, name in (
        (compute_v1.GlobalForwardingRulesClient, "forwarding_rule", "fr"),
        (compute_v1.TargetHttpProxiesClient, "target_http_proxy", "tp"),
        (compute_v1.UrlMapsClient, "url_map", "um"),
        (compute_v1.BackendServicesClient, "backend_service", "bs"),
        (compute_v1.HealthChecksClient, "health_check", "ready"),
    ):
        either.done(either.of(kind).delete_unary(**{"project": PROJECT, member: name}))
    assert not any(either.cloud.tables.values())


@pytest.mark.parametrize(
    ("kind", "member", "name", "user"),
    [
        (compute_v1.TargetHttpProxiesClient, "target_http_proxy", "tp", "forwardingRules/fr"),
        (compute_v1.UrlMapsClient, "url_map", "um", "targetHttpProxies/tp"),
        (compute_v1.BackendServicesClient, "backend_service", "bs", "urlMaps/um"),
        (compute_v1.HealthChecksClient, "health_check", "ready", "BACKEND_SERVICE:bs"),
    ],
)
def test_a_resource_in_use_cannot_be_deleted(
    clients: Clients, kind: Any, member: str, name: str, user: str
) -> None:
    make_chain(clients)
    with pytest.raises(exceptions.BadRequest) as caught:
        clients.of(kind).delete_unary(**{"project": PROJECT, member: name})
    assert caught.value.errors[0]["reason"] == "resourceInUseByAnotherResource"
    assert re.search(f"is already being used by '[^']*/{user}'", str(caught.value))


def test_a_reference_to_a_missing_resource_is_not_found(clients: Clients) -> None:
    with pytest.raises(exceptions.NotFound, match="projects/demo/global/healthChecks/ready"):
        make(
            clients, compute_v1.BackendServicesClient, "backend_service_resource", backend_service()
        )
    with pytest.raises(exceptions.NotFound, match="backendServices/bs"):
        make_url_map(clients)


def test_a_reference_to_another_collection_is_rejected(clients: Clients) -> None:
    make_services(clients)
    with pytest.raises(
        exceptions.BadRequest, match="Unexpected resource collection 'healthChecks'"
    ):
        make_url_map(clients, default_service=link("healthChecks", "ready"))


def test_health_checks_get_the_documented_defaults(clients: Clients) -> None:
    given = compute_v1.HealthCheck(name="hc", type_="TCP")
    make(clients, compute_v1.HealthChecksClient, "health_check_resource", given)
    kept = clients.of(compute_v1.HealthChecksClient).get(project=PROJECT, health_check="hc")
    numbers = (
        kept.check_interval_sec,
        kept.timeout_sec,
        kept.healthy_threshold,
        kept.unhealthy_threshold,
    )
    assert numbers == (5, 5, 2, 2)
    assert kept.tcp_health_check.port == 80


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"type_": "HTTP", "check_interval_sec": 5, "timeout_sec": 6}, "timeoutSec"),
        ({"type_": "HTTP", "healthy_threshold": 11}, "healthyThreshold"),
        ({"type_": "HTTP", "tcp_health_check": {"port": 1}}, "tcpHealthCheck"),
        (
            {"type_": "HTTP", "http_health_check": {"port_specification": "USE_NAMED_PORT"}},
            "portSpecification",
        ),
        ({"type_": "HTTP", "http_health_check": {"request_path": "ready"}}, "requestPath"),
        ({"type_": "GRPC"}, "grpcHealthCheck.port"),
    ],
)
def test_an_invalid_health_check_is_rejected(clients: Clients, members: Any, field: str) -> None:
    given = compute_v1.HealthCheck({"name": "hc"} | members)
    with pytest.raises(exceptions.BadRequest, match=field):
        make(clients, compute_v1.HealthChecksClient, "health_check_resource", given)


def test_a_patch_merges_and_a_put_replaces(clients: Clients) -> None:
    make_services(clients, timeout_sec=77, description="old")
    services = clients.of(compute_v1.BackendServicesClient)
    kept = services.get(project=PROJECT, backend_service="bs")
    change = compute_v1.BackendService(description="new", fingerprint=kept.fingerprint)
    clients.done(
        services.patch_unary(project=PROJECT, backend_service="bs", backend_service_resource=change)
    )
    patched = services.get(project=PROJECT, backend_service="bs")
    assert (patched.description, patched.timeout_sec) == ("new", 77)

    whole = backend_service(fingerprint=patched.fingerprint)
    clients.done(
        services.update_unary(project=PROJECT, backend_service="bs", backend_service_resource=whole)
    )
    replaced = services.get(project=PROJECT, backend_service="bs")
    assert (replaced.description, replaced.timeout_sec) == ("", 30)
    assert replaced.id == kept.id


def test_every_write_changes_the_fingerprint_and_a_stale_one_is_rejected(clients: Clients) -> None:
    make_services(clients)
    services = clients.of(compute_v1.BackendServicesClient)

    def patch(**members: Any) -> Any:
        change = compute_v1.BackendService(members)
        return services.patch_unary(
            project=PROJECT, backend_service="bs", backend_service_resource=change
        )

    first = services.get(project=PROJECT, backend_service="bs").fingerprint
    clients.done(patch(description="a", fingerprint=first))
    assert services.get(project=PROJECT, backend_service="bs").fingerprint != first
    with pytest.raises(exceptions.PreconditionFailed, match=r"Invalid fingerprint\.") as caught:
        patch(description="b", fingerprint=first)
    assert caught.value.errors[0]["reason"] == "conditionNotMet"
    with pytest.raises(
        exceptions.BadRequest, match=r"Required field 'resource\.fingerprint' not specified"
    ):
        patch(description="b")


def test_a_url_map_patch_needs_no_fingerprint_but_a_put_does(clients: Clients) -> None:
    make_services(clients)
    make_url_map(clients)
    maps = clients.of(compute_v1.UrlMapsClient)
    change = compute_v1.UrlMap(description="new")
    clients.done(maps.patch_unary(project=PROJECT, url_map="um", url_map_resource=change))
    assert maps.get(project=PROJECT, url_map="um").description == "new"
    whole = compute_v1.UrlMap(name="um", default_service=link("backendServices", "bs"))
    with pytest.raises(exceptions.BadRequest, match=r"resource\.fingerprint"):
        maps.update_unary(project=PROJECT, url_map="um", url_map_resource=whole)


def test_a_backend_gets_its_defaults_and_keeps_its_group_in_use(clients: Clients) -> None:
    group = put_group(clients.cloud)
    make_services(clients, backends=[compute_v1.Backend(group=group)])
    backend = (
        clients.of(compute_v1.BackendServicesClient)
        .get(project=PROJECT, backend_service="bs")
        .backends[0]
    )
    assert (backend.balancing_mode, backend.capacity_scaler) == ("UTILIZATION", 1)
    assert "max_utilization" not in backend
    assert clients.cloud.users_of(GROUP) == [Key("global", "backendServices", "bs")]


@pytest.mark.parametrize(
    ("backend", "field"),
    [
        ({"balancing_mode": "RATE"}, "maxRatePerInstance"),
        ({"balancing_mode": "CONNECTION"}, "balancingMode"),
        ({"capacity_scaler": 0.05}, "capacityScaler"),
        ({"max_utilization": 1.5}, "maxUtilization"),
    ],
)
def test_an_invalid_backend_is_rejected(clients: Clients, backend: Any, field: str) -> None:
    group = put_group(clients.cloud)
    with pytest.raises(exceptions.BadRequest, match=field):
        make_services(clients, backends=[compute_v1.Backend({"group": group} | backend)])


def test_health_comes_from_the_group(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    group = put_group(clients.cloud)

    def health(cloud: Cloud, service: JsonObject, key: Key) -> list[JsonObject]:
        return [{"instance": "i", "healthState": "HEALTHY", "port": 80}] if key == GROUP else []

    monkeypatch.setattr("compute_emulator.api.collections.backend_services.group_health", health)
    make_services(clients, backends=[compute_v1.Backend(group=group)])
    services = clients.of(compute_v1.BackendServicesClient)

    def ask(url: str) -> Any:
        reference = compute_v1.ResourceGroupReference(group=url)
        return services.get_health(
            project=PROJECT, backend_service="bs", resource_group_reference_resource=reference
        )

    assert [each.health_state for each in ask(group).health_status] == ["HEALTHY"]
    with pytest.raises(exceptions.BadRequest, match="not a backend"):
        ask(group.replace("fleet", "other"))


def test_traffic_is_split_by_weights_except_on_the_classic_balancer(clients: Clients) -> None:
    make_services(clients, "bs", "bs2")
    make(
        clients,
        compute_v1.BackendServicesClient,
        "backend_service_resource",
        backend_service("classic", load_balancing_scheme="EXTERNAL"),
    )

    def weighted_action(*names: str) -> Any:
        shares = [
            compute_v1.WeightedBackendService(
                backend_service=link("backendServices", name), weight=50
            )
            for name in names
        ]
        return compute_v1.HttpRouteAction(weighted_backend_services=shares)

    with pytest.raises(
        exceptions.BadRequest, match="Advanced routing rules are not supported for scheme EXTERNAL"
    ):
        make_url_map(
            clients, default_service=None, default_route_action=weighted_action("bs", "classic")
        )
    make_url_map(clients, default_service=None, default_route_action=weighted_action("bs", "bs2"))
    assert set(clients.cloud.users_of(Key("global", "backendServices", "bs2"))) == {
        Key("global", "urlMaps", "um")
    }


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"default_service": None}, "defaultService"),
        ({"host_rules": [{"hosts": ["*"], "path_matcher": "missing"}]}, "hostRules"),
        (
            {
                "path_matchers": [
                    {"name": "unused", "default_service": link("backendServices", "bs")}
                ]
            },
            "pathMatchers",
        ),
        (
            {
                "host_rules": [{"hosts": ["*"], "path_matcher": "pm"}],
                "path_matchers": [
                    {
                        "name": "pm",
                        "path_rules": [
                            {"paths": ["/a*b"], "service": link("backendServices", "bs")}
                        ],
                    }
                ],
            },
            "pathRules",
        ),
    ],
)
def test_an_invalid_url_map_is_rejected(clients: Clients, members: Any, field: str) -> None:
    make_services(clients)
    with pytest.raises(exceptions.BadRequest, match=field):
        make_url_map(clients, **members)


def test_a_url_map_is_validated_with_its_own_tests(clients: Clients) -> None:
    make_services(clients, "bs", "bs2")
    tests = [
        compute_v1.UrlMapTest(host="h", path="/", service=link("backendServices", "bs")),
        compute_v1.UrlMapTest(host="h", path="/x", service=link("backendServices", "bs2")),
    ]
    given = compute_v1.UrlMap(name="um", default_service=link("backendServices", "bs"), tests=tests)
    result = (
        clients.of(compute_v1.UrlMapsClient)
        .validate(
            project=PROJECT,
            url_map="um",
            url_maps_validate_request_resource=compute_v1.UrlMapsValidateRequest(resource=given),
        )
        .result
    )
    assert result.load_succeeded
    assert not result.test_passed
    assert [each.path for each in result.test_failures] == ["/x"]


def test_the_targets_of_a_proxy_and_a_rule_can_be_changed(clients: Clients) -> None:
    make_chain(clients)
    make_url_map(clients, name="um2")
    proxies = clients.of(compute_v1.TargetHttpProxiesClient)
    reference = compute_v1.UrlMapReference(url_map=link("urlMaps", "um2"))
    clients.done(
        proxies.set_url_map_unary(
            project=PROJECT, target_http_proxy="tp", url_map_reference_resource=reference
        )
    )
    assert proxies.get(project=PROJECT, target_http_proxy="tp").url_map.endswith("/um2")

    other = compute_v1.TargetHttpProxy(name="tp2", url_map=link("urlMaps", "um"))
    make(clients, compute_v1.TargetHttpProxiesClient, "target_http_proxy_resource", other)
    rules = clients.of(compute_v1.GlobalForwardingRulesClient)
    target = compute_v1.TargetReference(target=link("targetHttpProxies", "tp2"))
    clients.done(
        rules.set_target_unary(
            project=PROJECT, forwarding_rule="fr", target_reference_resource=target
        )
    )
    assert rules.get(project=PROJECT, forwarding_rule="fr").target.endswith("/tp2")


def test_a_rule_with_another_scheme_than_its_backends_is_rejected(clients: Clients) -> None:
    make_chain(clients)
    rule = compute_v1.ForwardingRule(
        name="fr2",
        target=link("targetHttpProxies", "tp"),
        port_range="81",
        load_balancing_scheme="EXTERNAL",
    )
    with pytest.raises(exceptions.BadRequest, match="loadBalancingScheme"):
        make(clients, compute_v1.GlobalForwardingRulesClient, "forwarding_rule_resource", rule)


def test_an_address_is_reserved_used_and_not_shared(clients: Clients) -> None:
    make_chain(clients)
    addresses = clients.of(compute_v1.GlobalAddressesClient)
    make(
        clients,
        compute_v1.GlobalAddressesClient,
        "address_resource",
        compute_v1.Address(name="front"),
    )
    reserved = addresses.get(project=PROJECT, address="front")
    assert reserved.status == "RESERVED"

    def rule(name: str) -> Any:
        return compute_v1.ForwardingRule(
            name=name,
            target=link("targetHttpProxies", "tp"),
            port_range="80",
            load_balancing_scheme="EXTERNAL_MANAGED",
            I_p_address=link("addresses", "front"),
        )

    make(clients, compute_v1.GlobalForwardingRulesClient, "forwarding_rule_resource", rule("fr2"))
    used = addresses.get(project=PROJECT, address="front")
    assert (used.status, used.address) == ("IN_USE", reserved.address)
    assert used.users[0].endswith("/forwardingRules/fr2")
    with pytest.raises(exceptions.BadRequest, match="in-use"):
        make(
            clients, compute_v1.GlobalForwardingRulesClient, "forwarding_rule_resource", rule("fr3")
        )
    with pytest.raises(exceptions.BadRequest, match="already being used"):
        addresses.delete_unary(project=PROJECT, address="front")


def test_setting_labels_needs_their_own_fingerprint(clients: Clients) -> None:
    make_chain(clients)
    rules = clients.of(compute_v1.GlobalForwardingRulesClient)
    before = rules.get(project=PROJECT, forwarding_rule="fr").label_fingerprint

    def label(**labels: str) -> Any:
        request = compute_v1.GlobalSetLabelsRequest(labels=labels, label_fingerprint=before)
        return rules.set_labels_unary(
            project=PROJECT, resource="fr", global_set_labels_request_resource=request
        )

    clients.done(label(app="llm"))
    assert dict(rules.get(project=PROJECT, forwarding_rule="fr").labels) == {"app": "llm"}
    with pytest.raises(exceptions.PreconditionFailed):
        label(app="other")


def test_https_needs_certificates(clients: Clients) -> None:
    make_services(clients)
    make_url_map(clients)
    proxy = compute_v1.TargetHttpsProxy(name="tps", url_map=link("urlMaps", "um"))
    with pytest.raises(exceptions.BadRequest, match="sslCertificates"):
        make(clients, compute_v1.TargetHttpsProxiesClient, "target_https_proxy_resource", proxy)
    certificate = compute_v1.SslCertificate(name="cert", certificate="PEM", private_key="SECRET")
    make(clients, compute_v1.SslCertificatesClient, "ssl_certificate_resource", certificate)
    kept = clients.of(compute_v1.SslCertificatesClient).get(project=PROJECT, ssl_certificate="cert")
    assert "SECRET" not in str(kept)
    proxy.ssl_certificates = [link("sslCertificates", "cert")]
    make(clients, compute_v1.TargetHttpsProxiesClient, "target_https_proxy_resource", proxy)
    with pytest.raises(exceptions.BadRequest, match="already being used"):
        clients.of(compute_v1.SslCertificatesClient).delete_unary(
            project=PROJECT, ssl_certificate="cert"
        )


def test_regional_chains_stay_in_their_region(clients: Clients) -> None:
    checks = clients.of(compute_v1.RegionHealthChecksClient)
    clients.done(
        checks.insert_unary(project=PROJECT, region=REGION, health_check_resource=health_check())
    )
    stray = backend_service(
        health_checks=[f"projects/{PROJECT}/regions/{REGION}/healthChecks/ready"]
    )
    with pytest.raises(exceptions.BadRequest, match="global health check"):
        make(clients, compute_v1.BackendServicesClient, "backend_service_resource", stray)
    service = backend_service(
        health_checks=[f"regions/{REGION}/healthChecks/ready"],
        load_balancing_scheme="INTERNAL_MANAGED",
    )
    services = clients.of(compute_v1.RegionBackendServicesClient)
    clients.done(
        services.insert_unary(project=PROJECT, region=REGION, backend_service_resource=service)
    )
    kept = services.get(project=PROJECT, region=REGION, backend_service="bs")
    assert kept.region.endswith(f"/regions/{REGION}")
