"""Facts from recorded answers of the service: what it fills in, ignores and rewrites in addresses,
forwarding rules, templates, certificates, groups and autoscalers.

"KCC" is GoogleCloudPlatform/k8s-config-connector: the commit, and the folder of `_http.log` under
pkg/test/resourcefixture/testdata/basic/compute/v1beta1.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv6Address
from typing import Any

import pytest
from cryptography import x509
from google.cloud import compute_v1

from compute_emulator.traffic.tls import self_signed
from emulator.tests.clients import PROJECT, REGION, rejection, send
from emulator.tests.facts.helpers import BASE, GROUPS, TINY, details
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import LoadBalancer

GOOGLE = "https://www.googleapis.com/compute/v1"
HERE = f"{BASE}/regions/{REGION}"
DEFAULT = f"{GOOGLE}/projects/{PROJECT}/global/networks/default"


def insert(fleet: Fleet, collection: str, body: dict[str, Any]) -> Any:
    """The resource as it is returned once its operation has ended."""
    status, operation = send(fleet.cloud, "POST", collection, body)
    assert status == 200, operation
    fleet.clock.advance(10)
    return send(fleet.cloud, "GET", f"{collection}/{body['name']}")[1]


@fact("KCC 1e63b160c8, computeaddress/regionalcomputeaddress and globalcomputeaddress")
def test_an_address_has_a_description_a_purpose_and_full_links(fleet: Fleet) -> None:
    subnetwork = f"projects/{PROJECT}/regions/{REGION}/subnetworks/default"
    body: dict[str, Any] = {"name": "a", "addressType": "INTERNAL", "subnetwork": subnetwork}
    found = insert(fleet, f"{HERE}/addresses", body)
    assert (found["description"], found["purpose"]) == ("", "GCE_ENDPOINT")
    assert found["subnetwork"] == f"{GOOGLE}/{subnetwork}"
    network = {"addressType": "INTERNAL", "purpose": "VPC_PEERING", "prefixLength": 16}
    body = {"name": "b", "network": f"projects/{PROJECT}/global/networks/default"} | network
    assert insert(fleet, f"{BASE}/global/addresses", body)["network"] == DEFAULT


@fact(
    "KCC 1e63b160c8, computeaddress, and 733eb5b9b1, computeforwardingrule: labels of an insert do"
    " not appear until setLabels, whose operation is returned as DONE"
)
@pytest.mark.parametrize("collection", ["addresses", "forwardingRules"])
def test_labels_are_set_only_by_set_labels_which_is_done_at_once(
    balancer: LoadBalancer, collection: str
) -> None:
    body: dict[str, Any] = {"name": "x", "labels": {"a": "b"}}
    if collection == "forwardingRules":
        proxy = "global/targetHttpProxies/tp"
        scheme = "EXTERNAL_MANAGED"
        body |= {"target": proxy, "portRange": "8081", "loadBalancingScheme": scheme}
    resources = f"{BASE}/global/{collection}"
    found = insert(balancer.fleet, resources, body)
    assert "labels" not in found
    labels = {"labels": {"a": "b"}, "labelFingerprint": found["labelFingerprint"]}
    done = send(balancer.cloud, "POST", f"{resources}/x/setLabels", labels)[1]
    assert (done["operationType"], done["status"], done["progress"]) == ("setLabels", "DONE", 100)
    assert done["endTime"]
    assert send(balancer.cloud, "GET", f"{resources}/x")[1]["labels"] == {"a": "b"}


@fact(
    "Observed in answers of `gcloud compute forwarding-rules describe` published from 2021 to 2026,"
    " schemes EXTERNAL and INTERNAL_MANAGED"
)
def test_a_rule_has_a_description(balancer: LoadBalancer) -> None:
    scheme = {"loadBalancingScheme": "EXTERNAL_MANAGED", "portRange": "8081"}
    body = {"name": "x", "target": "global/targetHttpProxies/tp"} | scheme
    assert insert(balancer.fleet, f"{BASE}/global/forwardingRules", body)["description"] == ""


@fact("KCC 1e63b160c8, computepacketmirroring: the collector's forwarding rule")
def test_a_passthrough_rule_leads_to_a_backend_service(fleet: Fleet) -> None:
    services, rules = f"{HERE}/backendServices", f"{HERE}/forwardingRules"
    body: dict[str, Any] = {"name": "bs", "loadBalancingScheme": "INTERNAL", "protocol": "TCP"}
    service = insert(fleet, services, body)["selfLink"]
    body = {"name": "fr", "loadBalancingScheme": "INTERNAL", "backendService": service}
    found = insert(fleet, rules, body | {"allPorts": True})
    assert found["network"] == DEFAULT
    assert found["subnetwork"].startswith(GOOGLE)
    assert found["subnetwork"].endswith("/subnetworks/default")
    assert found["selfLinkWithId"].endswith(f"/forwardingRules/{found['id']}")
    assert (found["IPProtocol"], found["attachedExtensions"]) == ("TCP", [])
    assert not {"portRange", "target"} & set(found)
    assert rejection(fleet.cloud, "DELETE", service)[1] == "resourceInUseByAnotherResource"
    taken = body | {"name": "other", "IPAddress": found["IPAddress"], "ports": ["80"]}
    assert "IP address is in-use" in rejection(fleet.cloud, "POST", rules, taken)[2]
    assert "Exactly one of" in rejection(fleet.cloud, "POST", rules, body | {"name": "no"})[2]
    target = {"target": f"regions/{REGION}/targetHttpProxies/tp"}
    assert (
        "leads to a backend service"
        in rejection(fleet.cloud, "POST", f"{rules}/fr/setTarget", target)[2]
    )


@fact("KCC 1e63b160c8, computeinstancegroup: the template's answer")
def test_a_template_names_its_devices_and_has_full_links_and_fingerprints(fleet: Fleet) -> None:
    source = {"sourceImage": "projects/debian-cloud/global/images/family/debian-12"}
    properties = {
        "machineType": "n1-standard-1",
        "disks": [{"boot": True, "initializeParams": source}, {"initializeParams": source}],
        "networkInterfaces": [{"network": "global/networks/default", "accessConfigs": [{}]}],
        "metadata": {},
    }
    templates = f"{BASE}/global/instanceTemplates"
    one, two = (insert(fleet, templates, {"name": n, "properties": properties}) for n in "ab")
    assert one["description"] == ""
    kept = one["properties"]
    assert [each["deviceName"] for each in kept["disks"]] == [
        "persistent-disk-0",
        "persistent-disk-1",
    ]
    assert kept["metadata"]["fingerprint"] == two["properties"]["metadata"]["fingerprint"]
    interface = kept["networkInterfaces"][0]
    assert interface["network"] == DEFAULT
    assert interface["accessConfigs"] == [
        {"kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT", "networkTier": "PREMIUM"}
    ]


@fact("KCC 733eb5b9b1, computeforwardingrule/globalcomputeforwardingrulessl: expireTime")
def test_a_certificate_shows_its_own_expiry_and_names(fleet: Fleet) -> None:
    certificates = f"{BASE}/global/sslCertificates"
    pem = self_signed(("models.example", "api.example")).chain
    body = {"name": "c", "certificate": pem, "privateKey": "secret"}
    found = insert(fleet, certificates, body)
    expires = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    assert datetime.fromisoformat(found["expireTime"]) == expires
    assert found["expireTime"].endswith(".000-07:00")
    assert found["subjectAlternativeNames"][:2] == ["models.example", "api.example"]
    assert "privateKey" not in str(found)
    unreadable = insert(fleet, certificates, body | {"name": "u", "certificate": "unreadable"})
    assert "subjectAlternativeNames" not in unreadable


@fact(
    "API reference, addresses.ipVersion; documentation, reserve a static external IP address:"
    " an IPv6 address shows its version",
    assumed="IPV4 is not shown, as in recorded answers",
)
def test_an_ipv6_address_is_reserved_and_used(balancer: LoadBalancer) -> None:
    addresses = f"{BASE}/global/addresses"
    six = insert(balancer.fleet, addresses, {"name": "six", "ipVersion": "IPV6"})
    assert six["ipVersion"] == "IPV6"
    assert IPv6Address(six["address"])
    four = insert(balancer.fleet, addresses, {"name": "four", "ipVersion": "IPV4"})
    assert "ipVersion" not in four
    rule = {
        "target": "global/targetHttpProxies/tp",
        "portRange": "80",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
    }
    rules = f"{BASE}/global/forwardingRules"
    named = insert(balancer.fleet, rules, rule | {"name": "named", "IPAddress": "six"})
    assert named["IPAddress"] == six["address"]
    other = insert(balancer.fleet, rules, rule | {"name": "other", "ipVersion": "IPV6"})
    assert IPv6Address(other["IPAddress"]) != IPv6Address(six["address"])


@fact(
    "KCC 09998bcff9, computeforwardingrule/globalcomputeforwardingrulegrpcproxy; API reference,"
    " forwardingRules.network: else the default network is used"
)
def test_an_internal_rule_is_in_the_default_network(fleet: Fleet) -> None:
    for scheme, place, subnetwork in (
        ("INTERNAL_SELF_MANAGED", f"{BASE}/global", False),
        ("INTERNAL_MANAGED", HERE, True),
    ):
        scope = place.removeprefix(f"{BASE}/")
        service = {"name": "bs", "loadBalancingScheme": scheme}
        insert(fleet, f"{place}/backendServices", service)
        url_map = {"name": "um", "defaultService": f"{scope}/backendServices/bs"}
        insert(fleet, f"{place}/urlMaps", url_map)
        insert(fleet, f"{place}/targetHttpProxies", {"name": "p", "urlMap": f"{scope}/urlMaps/um"})
        rule = {"name": "fr", "target": f"{scope}/targetHttpProxies/p", "portRange": "80"}
        found = insert(fleet, f"{place}/forwardingRules", rule | {"loadBalancingScheme": scheme})
        assert found["network"] == DEFAULT
        assert ("subnetwork" in found) == subnetwork


@fact("KCC 1e63b160c8, computemanagedsslcertificate")
def test_a_managed_certificate_is_provisioning_for_its_domain_without_the_dot(fleet: Fleet) -> None:
    body = {"name": "c", "type": "MANAGED", "managed": {"domains": ["models.example."]}}
    found = insert(fleet, f"{BASE}/global/sslCertificates", body)
    assert found["managed"] == {
        "domains": ["models.example"],
        "status": "PROVISIONING",
        "domainStatus": {"models.example": "PROVISIONING"},
    }
    assert not {"expireTime", "subjectAlternativeNames"} & set(found)


@fact(
    "KCC 1e63b160c8 and 1b6a232510, zonalcomputeinstancegroupmanager",
    assumed="regional groups are like zonal ones",
)
def test_a_group_shows_its_standby_and_size_policies_and_its_zone_separation(
    fleet: Fleet,
) -> None:
    fleet.create(1)
    found = send(fleet.cloud, "GET", TINY)[1]
    assert found["standbyPolicy"] == {"mode": "MANUAL"}
    assert found["targetSizePolicy"] == {"mode": "INDIVIDUAL"}
    assert (found["satisfiesPzs"], found["satisfiesPzi"]) == (True, False)


@fact("Observed on the service: a regional group in us-central1 that names no zones")
def test_a_group_in_us_central1_uses_the_zones_b_c_and_f_by_default(fleet: Fleet) -> None:
    body = {"name": "g", "targetSize": 1, "instanceTemplate": "global/instanceTemplates/v1"}
    found = insert(fleet, GROUPS, body)["distributionPolicy"]["zones"]
    assert [each["zone"][-1] for each in found] == ["b", "c", "f"]


@fact(
    "Documentation, getting information about managed instance groups: an autoscaler with 15 % of"
    " at most 20 instances has maxScaledInReplicas.calculated 3"
)
def test_an_autoscaler_shows_what_its_policy_amounts_to(fleet: Fleet) -> None:
    fleet.create(10)
    limit = compute_v1.FixedOrPercent(percent=15)
    control = compute_v1.AutoscalingPolicyScaleInControl(
        max_scaled_in_replicas=limit, time_window_sec=60
    )
    cpu = compute_v1.AutoscalingPolicyCpuUtilization(utilization_target=0.6)
    fleet.autoscale(
        min_num_replicas=10, max_num_replicas=20, scale_in_control=control, cpu_utilization=cpu
    )
    kept = fleet.autoscaler().autoscaling_policy
    assert kept.scale_in_control.max_scaled_in_replicas.calculated == 3
    assert kept.cpu_utilization.predictive_method == "NONE"
    assert "ALL_INSTANCES_UNHEALTHY" not in details(fleet)


@fact("KCC 1e63b160c8, computebackendservice and computepacketmirroring: creationTimestamp")
def test_times_carry_the_pacific_offset(fleet: Fleet) -> None:
    found = send(fleet.cloud, "GET", f"{BASE}/global/instanceTemplates/v1")[1]
    assert found["creationTimestamp"].endswith("-07:00")


@fact("KCC 1e63b160c8, computepacketmirroring: resources in us-west2")
def test_us_west2_exists(fleet: Fleet) -> None:
    assert send(fleet.cloud, "GET", f"{BASE}/regions/us-west2")[0] == 200
