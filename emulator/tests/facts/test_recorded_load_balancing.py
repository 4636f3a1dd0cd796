"""Facts from recorded answers of the service: what it fills in, hides and rewrites in backend
services, health checks, URL maps and target proxies.

"KCC" is GoogleCloudPlatform/k8s-config-connector: the commit, and the folder of `_http.log` under
pkg/test/resourcefixture/testdata/basic/compute/v1beta1.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from emulator.tests.clients import PROJECT, REGION, rejection, send
from emulator.tests.facts.helpers import BASE
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet

GOOGLE = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}"
S = "global/backendServices/s"
CERTIFICATE = f"projects/{PROJECT}/locations/global/certificates/c"


def write(
    fleet: Fleet, path: str, body: dict[str, Any] | None = None, method: str = "POST"
) -> dict[str, Any]:
    """A write that is accepted: its operation, once it has ended."""
    status, operation = send(fleet.cloud, method, f"{BASE}/{path}", body)
    assert status == 200, operation
    fleet.clock.advance(10)
    assert isinstance(operation, dict)
    return operation


def read(fleet: Fleet, path: str) -> dict[str, Any]:
    fleet.clock.advance(10)
    found: dict[str, Any] = send(fleet.cloud, "GET", f"{BASE}/{path}")[1]
    return found


def service(fleet: Fleet, scope: str = "global", **members: Any) -> dict[str, Any]:
    write(fleet, f"{scope}/backendServices", {"name": "s"} | members)
    return read(fleet, f"{scope}/backendServices/s")


def url_map(fleet: Fleet, **members: Any) -> dict[str, Any]:
    write(fleet, "global/urlMaps", {"name": "um", "defaultService": f"{GOOGLE}/{S}"} | members)
    return read(fleet, "global/urlMaps/um")


@fact(
    "KCC 1e63b160c8, computetargetsslproxy and computebackendservice/globalcomputebackendservice;"
    " 168db9c225, networkservicesauthzextension-maximal: port 80 whatever the protocol"
)
@pytest.mark.parametrize("protocol", ["HTTP", "HTTP2", "SSL", "TCP"])
def test_a_backend_service_of_any_protocol_reports_port_80(fleet: Fleet, protocol: str) -> None:
    found = service(fleet, protocol=protocol, loadBalancingScheme="EXTERNAL")
    assert (found["port"], found["portName"], found["affinityCookieTtlSec"]) == (80, "http", 0)
    assert (found["description"], found["enableCDN"]) == ("", False)


@fact("KCC 1e63b160c8, computepacketmirroring: the service of an internal passthrough balancer")
def test_an_internal_backend_service_is_tcp_and_has_no_port(fleet: Fleet) -> None:
    found = service(fleet, f"regions/{REGION}", loadBalancingScheme="INTERNAL")
    assert found["protocol"] == "TCP"
    assert not {"port", "portName", "affinityCookieTtlSec", "enableCDN"} & set(found)


@fact(
    "API reference, backendServices.network and logConfig; observed in published answers of 2024"
    " (enabled) and 2021 (not enabled)",
)
def test_a_network_is_a_full_link_and_logging_has_defaults(fleet: Fleet) -> None:
    network = "global/networks/default"
    scheme = {"loadBalancingScheme": "INTERNAL", "network": network}
    found = service(fleet, f"regions/{REGION}", logConfig={"enable": True}, **scheme)
    assert found["network"] == f"{GOOGLE}/{network}"
    expected = {"enable": True, "sampleRate": 1, "optionalMode": "EXCLUDE_ALL_OPTIONAL"}
    assert found["logConfig"] == expected
    assert service(fleet, logConfig={"enable": False})["logConfig"] == {"enable": False}


@fact("KCC 1e63b160c8, computebackendservice/globalcomputebackendservice: iap")
def test_the_secret_of_iap_is_shown_as_its_hash(fleet: Fleet) -> None:
    iap = {"enabled": True, "oauth2ClientId": "id", "oauth2ClientSecret": "hunter2"}
    digest = hashlib.sha256(b"hunter2").hexdigest()
    expected = {"enabled": True, "oauth2ClientId": "id", "oauth2ClientSecretSha256": digest}
    found = service(fleet, iap=iap)
    assert found["iap"] == expected
    patch = {"iap": {"enabled": False}, "fingerprint": found["fingerprint"]}
    write(fleet, S, patch, "PATCH")
    assert read(fleet, S)["iap"] == expected | {"enabled": False}


@fact("KCC 1e63b160c8, globalcomputebackendservice: capacityScaler 1, no maxUtilization")
def test_a_backend_has_no_utilization_that_was_not_sent(six: Fleet) -> None:
    group = f"projects/{PROJECT}/regions/{REGION}/instanceGroups/tiny"
    check = ["global/healthChecks/ready"]
    found = service(six, backends=[{"group": group}], healthChecks=check)
    (backend,) = found["backends"]
    assert set(backend) == {"balancingMode", "capacityScaler", "group"}
    assert repr(backend["capacityScaler"]) == "1"


@fact("Observed in an answer that was published in 2024: a GKE service of scheme INTERNAL")
def test_a_backend_of_a_passthrough_balancer_has_no_capacity_scaler(six: Fleet) -> None:
    backends = [{"group": f"projects/{PROJECT}/regions/{REGION}/instanceGroups/tiny"}]
    check = ["global/healthChecks/ready"]
    members = {"loadBalancingScheme": "INTERNAL", "healthChecks": check, "backends": backends}
    found = service(six, f"regions/{REGION}", **members)
    assert set(found["backends"][0]) == {"balancingMode", "group"}
    assert found["backends"][0]["balancingMode"] == "CONNECTION"


@fact("KCC 1e63b160c8, computebackendservice/globalcomputebackendservicesecuritysettings")
def test_empty_lists_are_dropped_and_a_tls_policy_names_the_project_number(fleet: Fleet) -> None:
    empty: dict[str, Any] = {"backends": [], "healthChecks": [], "customRequestHeaders": []}
    policy = "locations/global/clientTlsPolicies/p"
    host = "//networksecurity.googleapis.com/projects"
    security = {"clientTlsPolicy": f"{host}/{PROJECT}/{policy}"}
    found = service(
        fleet, loadBalancingScheme="INTERNAL_SELF_MANAGED", securitySettings=security, **empty
    )
    assert not set(empty) & set(found)
    assert found["securitySettings"]["clientTlsPolicy"] == f"{host}/123456789012/{policy}"


@fact("KCC ca9a9de42b, computeurlmap/globalcomputeurlmap: usedBy, from insert to delete of the map")
def test_a_backend_service_names_the_url_maps_that_use_it(fleet: Fleet) -> None:
    assert "usedBy" not in service(fleet)
    url_map(fleet)
    assert read(fleet, S)["usedBy"] == [{"reference": f"{GOOGLE}/global/urlMaps/um"}]
    write(fleet, "global/urlMaps/um", method="DELETE")
    assert "usedBy" not in read(fleet, S)


@fact(
    "KCC 1fbb028e17, computebackendservicesignedurlkey (v1alpha1): the body may repeat the path"
    " parameter backendService; signed URLs are cached for an hour"
)
def test_a_signed_url_key_is_added_with_a_policy(fleet: Fleet) -> None:
    service(fleet)
    key = {"keyName": "k", "keyValue": "MTIzNDU2Nzg5MDEyMzQ1Ng==", "backendService": S}
    operation = write(fleet, f"{S}/addSignedUrlKey", key)
    assert operation["operationType"] == "compute.backendServices.addSignedUrlKey"
    policy = {"signedUrlCacheMaxAgeSec": "3600", "signedUrlKeyNames": ["k"]}
    assert read(fleet, S)["cdnPolicy"] == policy
    assert rejection(fleet.cloud, "POST", f"{BASE}/{S}/addSignedUrlKey", key | {"x": 1})[0] == 400


@fact("KCC ca9a9de42b, computeurlmap/globalcomputeurlmap: delete of a health check in use")
@pytest.mark.parametrize(
    ("scope", "place"), [("global", "GLOBAL:global"), (f"regions/{REGION}", f"REGION:{REGION}")]
)
def test_a_health_check_in_use_is_named_with_the_project_number(
    fleet: Fleet, scope: str, place: str
) -> None:
    write(fleet, f"{scope}/healthChecks", {"name": "c", "type": "HTTP"})
    managed = "EXTERNAL_MANAGED"
    service(fleet, scope, loadBalancingScheme=managed, healthChecks=[f"{scope}/healthChecks/c"])
    place = f"{place}/PROJECT:123456789012"
    assert rejection(fleet.cloud, "DELETE", f"{BASE}/{scope}/healthChecks/c") == (
        400,
        "resourceInUseByAnotherResource",
        f"The health_check resource '{place}/HEALTH_CHECK:c' is already being used by"
        f" '{place}/BACKEND_SERVICE:s'",
    )


@fact(
    "KCC 1e63b160c8, globalcomputebackendservice: description and host are there",
    assumed="host is empty: the recorder replaces it",
)
def test_a_legacy_health_check_has_a_description_and_a_host(fleet: Fleet) -> None:
    write(fleet, "global/httpHealthChecks", {"name": "c"})
    found = read(fleet, "global/httpHealthChecks/c")
    assert (found["description"], found["host"]) == ("", "")


RULES = {"hostRules": [{"hosts": ["mysite.com"], "pathMatcher": "all"}]}
MATCHER = {"name": "all", "defaultService": S}
PATHS = {"pathRules": [{"paths": ["/*"], "service": S}]}


def policy(*codes: str) -> dict[str, Any]:
    rules = [{"matchResponseCodes": [each], "path": "/error.html"} for each in codes]
    bucket = "global/backendBuckets/b"
    return {
        "defaultCustomErrorResponsePolicy": {"errorService": bucket, "errorResponseRules": rules}
    }


@fact(
    "KCC 1e63b160c8, crossregiontargethttpsproxy (24), and ca9a9de42b, computeurlmap (10, 61, 63)",
    assumed="the cost of each part; Google publishes no formula",
)
@pytest.mark.parametrize(
    ("members", "units"),
    [
        ({}, "10"),
        (RULES | {"pathMatchers": [MATCHER | PATHS]}, "24"),
        (RULES | policy("5xx") | {"pathMatchers": [MATCHER | policy("4xx")]}, "61"),
        (
            RULES | policy("5xx", "4xx") | {"pathMatchers": [MATCHER | policy("4xx", "5xx")]},
            "63",
        ),
    ],
)
def test_a_url_map_states_its_quota_units(
    fleet: Fleet, members: dict[str, Any], units: str
) -> None:
    service(fleet, loadBalancingScheme="EXTERNAL_MANAGED")
    found = url_map(fleet, **members)
    assert found["status"] == {"quotaUsage": {"forwardingRules": 0, "units": units}}


@fact("API reference, UrlMapQuotaUsage.forwardingRules; documentation, url-map-size-quota")
def test_a_url_map_counts_the_forwarding_rules_that_lead_to_it(fleet: Fleet) -> None:
    service(fleet)
    url_map(fleet)
    write(fleet, "global/targetHttpProxies", {"name": "p", "urlMap": "global/urlMaps/um"})
    target = "global/targetHttpProxies/p"
    for port in ("80", "8080"):
        rule = {"name": f"fr{port}", "target": target, "portRange": port}
        write(fleet, "global/forwardingRules", rule)
    assert read(fleet, "global/urlMaps/um")["status"]["quotaUsage"]["forwardingRules"] == 2


@fact(
    "recorded traffic of compute.v1 urlMaps: perTryTimeout and tests",
    assumed="for every perTryTimeout and test",
)
def test_defaults_below_the_top_level_of_a_url_map_are_filled_in(fleet: Fleet) -> None:
    service(fleet, loadBalancingScheme="EXTERNAL_MANAGED")
    retry = {"numRetries": 1, "retryConditions": ["5xx"], "perTryTimeout": {"seconds": "2"}}
    found = url_map(
        fleet,
        defaultRouteAction={"retryPolicy": retry},
        tests=[{"host": "a.com", "path": "/", "service": S}],
    )
    timeout = found["defaultRouteAction"]["retryPolicy"]["perTryTimeout"]
    assert timeout == {"seconds": "2", "nanos": 0}
    assert found["tests"][0]["description"] == ""


@fact(
    "KCC 9fefa2c4ca, computetargethttpsproxy/globaltargethttpsproxycertificatemanagercertificates"
    " and regionaltargethttpsproxy"
)
def test_an_https_proxy_takes_certificates_of_certificate_manager(fleet: Fleet) -> None:
    service(fleet)
    url_map(fleet)
    proxies = "global/targetHttpsProxies"
    certificates = [f"https://certificatemanager.googleapis.com/v1/{CERTIFICATE}"]
    body = {"name": "p", "urlMap": "global/urlMaps/um", "sslCertificates": certificates}
    write(fleet, proxies, body)
    found = read(fleet, f"{proxies}/p")
    assert found["sslCertificates"] == [f"//certificatemanager.googleapis.com/{CERTIFICATE}"]
    assert (found["tlsEarlyData"], found["quicOverride"]) == ("DISABLED", "NONE")
    regional = f"regions/{REGION}"
    service(fleet, regional, loadBalancingScheme="EXTERNAL_MANAGED")
    given = {"name": "um", "defaultService": f"{regional}/backendServices/s"}
    write(fleet, f"{regional}/urlMaps", given)
    body |= {"urlMap": f"{regional}/urlMaps/um"}
    write(fleet, f"{regional}/targetHttpsProxies", body)
    found = read(fleet, f"{regional}/targetHttpsProxies/p")
    assert "quicOverride" not in found
    assert found["tlsEarlyData"] == "DISABLED"


@fact(
    "KCC 1e63b160c8, computetargethttpsproxy/globaltargethttpsproxy: operation types; recorded"
    " traffic of targetHttpsProxies.patch without a fingerprint"
)
def test_changes_of_an_https_proxy(fleet: Fleet) -> None:
    service(fleet)
    url_map(fleet)
    name = "global/targetHttpsProxies/p"
    certificates = [f"//certificatemanager.googleapis.com/{CERTIFICATE}"]
    body = {"name": "p", "urlMap": "global/urlMaps/um", "sslCertificates": certificates}
    write(fleet, "global/targetHttpsProxies", body)
    quic = write(fleet, f"{name}/setQuicOverride", {"quicOverride": "ENABLE"})
    assert quic["operationType"] == "compute.targetHttpsProxies.setQuicOverride"
    moved = write(fleet, "targetHttpsProxies/p/setUrlMap", {"urlMap": "global/urlMaps/um"})
    assert moved["operationType"] == "SetUrlMap"
    assert rejection(fleet.cloud, "PATCH", f"{BASE}/{name}", {"quicOverride": "NONE"}) == (
        400,
        "required",
        "Required field 'resource.fingerprint' not specified",
    )
