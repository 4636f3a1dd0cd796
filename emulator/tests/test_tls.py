"""HTTPS rules use TLS with the certificates of their proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from compute_emulator.keys import Key
from compute_emulator.traffic.load_generator import load
from emulator.tests.clients import PROJECT, Clients
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import LoadBalancer, load_balancer

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
SECURE = Key("global", "forwardingRules", "secure")
CERTIFICATES = "global/sslCertificates/"


class Secure:
    """A site whose second rule, `secure`, leads to an HTTPS proxy with the same URL map."""

    def __init__(self, balancer: LoadBalancer, folder: Path) -> None:
        self.balancer, self.folder, self.clients = balancer, folder, balancer.clients

    def pair(self, name: str) -> tuple[str, str]:
        """A certificate for a name and its key, created by `openssl`."""
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *(
                    "-keyout",
                    key,
                    "-out",
                    chain,
                    "-subj",
                    f"/CN={name}",
                    "-addext",
                    f"subjectAltName=DNS:{name}",
                ),
            ],
            check=True,
            capture_output=True,
        )
        return chain.read_text(), key.read_text()

    def certificate(self, name: str, **members: Any) -> None:
        resource = compute_v1.SslCertificate({"name": name} | members)
        client = self.clients.of(compute_v1.SslCertificatesClient)
        self.balancer.fleet.done(
            client.insert_unary(project=PROJECT, ssl_certificate_resource=resource)
        )

    def serve(self, *certificates: str) -> None:
        used = [CERTIFICATES + each for each in certificates]
        proxy = compute_v1.TargetHttpsProxy(
            name="tps", url_map="global/urlMaps/um", ssl_certificates=used
        )
        proxies = self.clients.of(compute_v1.TargetHttpsProxiesClient)
        self.balancer.fleet.done(
            proxies.insert_unary(project=PROJECT, target_https_proxy_resource=proxy)
        )
        rule = compute_v1.ForwardingRule(
            name="secure",
            target="global/targetHttpsProxies/tps",
            port_range="443",
            load_balancing_scheme="EXTERNAL_MANAGED",
        )
        rules = self.clients.of(compute_v1.GlobalForwardingRulesClient)
        self.balancer.fleet.done(rules.insert_unary(project=PROJECT, forwarding_rule_resource=rule))
        self.balancer.plane.refresh()

    def show(self, *certificates: str) -> None:
        """Change the proxy's certificates."""
        request = compute_v1.TargetHttpsProxiesSetSslCertificatesRequest(
            ssl_certificates=[CERTIFICATES + x for x in certificates]
        )
        member = {"target_https_proxies_set_ssl_certificates_request_resource": request}
        proxies = self.clients.of(compute_v1.TargetHttpsProxiesClient)
        self.balancer.fleet.done(
            proxies.set_ssl_certificates_unary(project=PROJECT, target_https_proxy="tps", **member)
        )
        self.balancer.plane.refresh()

    @property
    def url(self) -> str:
        url = self.balancer.plane.url_of(SECURE)
        assert url is not None
        return url

    def data_plane_state(self) -> Any:
        return self.balancer.plane.state()["forwarding_rules"][
            f"projects/{PROJECT}/global/forwardingRules/secure"
        ]

    def certificate_name(self, name: str, trusted: str) -> str:
        """The common name that the server presents to a client that requests a name and trusts one
        certificate.
        """
        context = ssl.create_default_context(cadata=trusted)
        port = int(self.url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            subject = (connection.getpeercert() or {})["subject"]
        return dict(member for names in subject for member in names)["commonName"]  # type: ignore[misc]


@pytest.fixture
def secure(clients: Clients, clock: VirtualClock, tmp_path: Path) -> Iterator[Secure]:
    with load_balancer(Fleet(clients, clock), size=1) as balancer:
        yield Secure(balancer, tmp_path)


def test_clients_see_the_self_managed_certificate(secure: Secure) -> None:
    chain, key = secure.pair("models.example")
    secure.certificate("mine", certificate=chain, private_key=key)
    secure.serve("mine")
    assert secure.url.startswith("https://")
    assert secure.certificate_name("models.example", chain) == "models.example"
    with pytest.raises(ssl.SSLCertVerificationError):
        secure.certificate_name("other.example", chain)


def test_requests_work_as_over_http_and_the_instance_learns_the_scheme(secure: Secure) -> None:
    chain, key = secure.pair("models.example")
    secure.certificate("mine", certificate=chain, private_key=key)
    secure.serve("mine")
    answer = requests.get(secure.url + "/hello", headers={"x-echo": "1"}, verify=False, timeout=60)
    assert (answer.status_code, answer.json()["release"]) == (200, "v1")
    assert answer.json()["headers"]["x-forwarded-proto"] == "https"
    whole = requests.post(
        secure.url, data="a" * 200_000, headers={"x-echo": "1"}, verify=False, timeout=60
    )
    assert len(whole.json()["body"]) == 200_000
    with pytest.raises(requests.ConnectionError):
        requests.get(secure.url.replace("https", "http"), timeout=60)
    assert secure.balancer.get().status_code == 200


def test_the_load_generator_supports_tls(secure: Secure) -> None:
    secure.certificate(
        "theirs", managed=compute_v1.SslCertificateManagedSslCertificate(domains=["models.example"])
    )
    secure.serve("theirs")
    report = asyncio.run(load(secure.url, most=40, seconds=60))
    assert (report.statuses, report.releases) == ({200: 40}, {"v1": 40})


def test_a_managed_certificate_gets_a_self_signed_one_that_the_control_lists(
    secure: Secure, tmp_path: Path
) -> None:
    secure.certificate(
        "theirs", managed=compute_v1.SslCertificateManagedSslCertificate(domains=["models.example"])
    )
    secure.serve("theirs")
    secure.balancer.run(60)
    trusted = secure.data_plane_state()["certificates"][0]["pem"]
    assert secure.certificate_name("models.example", trusted) == "models.example"
    file = tmp_path / "trusted.pem"
    file.write_text(trusted)
    assert requests.get(secure.url, verify=str(file), timeout=60).status_code == 200


def test_a_certificate_is_not_served_while_it_is_provisioning(secure: Secure) -> None:
    cloud = secure.balancer.cloud
    cloud.certificate_seconds = 1200
    secure.certificate(
        "theirs", managed=compute_v1.SslCertificateManagedSslCertificate(domains=["models.example"])
    )
    secure.serve("theirs")
    assert "models.example" not in secure.data_plane_state()["certificates"][0]["names"]
    secure.balancer.run(1200)
    assert "models.example" in secure.data_plane_state()["certificates"][0]["names"]


def test_an_invalid_certificate_is_replaced_and_the_control_says_why(secure: Secure) -> None:
    secure.certificate("odd", certificate="---", private_key="---")
    secure.serve("odd")
    assert requests.get(secure.url, verify=False, timeout=60).status_code == 200
    assert secure.data_plane_state()["certificates"][0]["why"].startswith(
        "a self-signed certificate is served: "
    )


def test_a_certificate_with_the_wrong_key_is_not_served(secure: Secure) -> None:
    (chain, _), (_, key) = secure.pair("a.example"), secure.pair("b.example")
    secure.certificate("odd", certificate=chain, private_key=key)
    secure.serve("odd")
    assert "mismatch" in secure.data_plane_state()["certificates"][0]["why"].lower().replace(
        "_", " "
    )


def test_the_certificate_that_matches_the_name_is_used_and_else_the_first(
    secure: Secure,
) -> None:
    pairs = {name: secure.pair(name) for name in ("a.example", "b.example")}
    for name, (chain, key) in pairs.items():
        secure.certificate(name[0], certificate=chain, private_key=key)
    secure.serve("a", "b")
    assert secure.certificate_name("b.example", pairs["b.example"][0]) == "b.example"
    assert secure.certificate_name("a.example", pairs["a.example"][0]) == "a.example"
    with pytest.raises(ssl.SSLCertVerificationError):
        secure.certificate_name("c.example", pairs["b.example"][0])


def test_a_proxy_can_change_its_certificate_while_it_serves(secure: Secure) -> None:
    pairs = {name: secure.pair(name) for name in ("a.example", "b.example")}
    for name, (chain, key) in pairs.items():
        secure.certificate(name[0], certificate=chain, private_key=key)
    secure.serve("a")
    before = secure.url
    secure.show("b")
    assert secure.url == before
    assert secure.certificate_name("b.example", pairs["b.example"][0]) == "b.example"


def test_a_redirect_from_https_keeps_the_scheme(secure: Secure) -> None:
    secure.certificate(
        "theirs", managed=compute_v1.SslCertificateManagedSslCertificate(domains=["models.example"])
    )
    secure.serve("theirs")
    secure.balancer.route(default_url_redirect=compute_v1.HttpRedirectAction(path_redirect="/new"))
    answer = requests.get(secure.url + "/old", verify=False, allow_redirects=False, timeout=60)
    assert answer.headers["location"] == secure.url + "/new"


def test_a_private_key_is_never_returned(secure: Secure) -> None:
    chain, key = secure.pair("models.example")
    secure.certificate("mine", certificate=chain, private_key=key)
    secure.serve("mine")
    kept = secure.clients.of(compute_v1.SslCertificatesClient).get(
        project=PROJECT, ssl_certificate="mine"
    )
    assert kept.certificate == chain
    assert "PRIVATE KEY" not in str(kept) + str(secure.data_plane_state()) + str(
        secure.balancer.cloud.tables
    )
