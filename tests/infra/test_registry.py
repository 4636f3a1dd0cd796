"""The digest of a tag: asked of Debian's `docker-registry`, as it is and behind a token service,
and of servers that refuse, fail or stay silent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from infra.errors import Unavailable
from infra.registry import https
from infra.registry.https import HttpsRegistry
from infra.registry.port import NoDigest
from rollout.policy.policy import REGISTRIES
from rollout.spec.images import TaggedImage, refusal, tagged_image
from tests.tools import require_program

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b"{}"


def image(name: str) -> TaggedImage:
    found = tagged_image(name)
    assert found
    return found


def find(host: str, path: str, *also: str) -> str:
    return HttpsRegistry().find_digest(image(f"{host}/{path}"), (host, *also))


# ---- A real registry


@contextmanager
def registry(folder: Path, auth: dict[str, Any] | None = None) -> Iterator[str]:
    """A registry's host and port. It takes a free port itself and logs which."""
    program = require_program("docker-registry")
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": "127.0.0.1:0", "secret": "not used by more than one"},
    } | ({"auth": auth} if auth else {})
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=out, stderr=out
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(10)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(200):
        _, found, rest = log.read_text().partition("listening on ")
        if found and '"' in rest:
            return rest.partition('"')[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def push(host: str, repository: str, tag: str, note: str, kind: str = MANIFEST) -> str:
    """Publishes an image, or an index of images, under a tag. Returns its digest."""
    base = f"http://{host}/v2/{repository}"
    blob = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    upload = requests.post(f"{base}/blobs/uploads/", timeout=10).headers["Location"]
    requests.put(upload, params={"digest": blob}, data=CONFIG, timeout=10).raise_for_status()
    config = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": blob,
        "size": len(CONFIG),
    }
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": kind,
        "annotations": {"note": note},
    } | ({"manifests": []} if kind == INDEX else {"config": config, "layers": []})
    data = json.dumps(body).encode()
    done = requests.put(
        f"{base}/manifests/{tag}", data=data, headers={"Content-Type": kind}, timeout=10
    )
    assert done.status_code == 201, done.text
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_tag_has_the_digest_of_what_was_published_last(tmp_path: Path) -> None:
    with registry(tmp_path) as host:
        first = push(host, "team/tiny", "stable", "one")
        assert find(host, "team/tiny:stable") == first
        index = push(host, "team/tiny", "stable", "many platforms", INDEX)
        assert find(host, "team/tiny:stable") == index != first
        with pytest.raises(NoDigest, match="has no such image"):
            find(host, "team/tiny:never")
        with pytest.raises(NoDigest, match="the registries pkg"):
            HttpsRegistry().find_digest(image(f"{host}/team/tiny:stable"), REGISTRIES)


def test_a_registry_is_read_with_an_anonymous_token_of_its_token_service(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = self_signed(key)
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()

    def answer(path: str) -> Answer:
        query = parse_qs(urlsplit(path).query)
        return 200, {}, json.dumps({"token": token(key, certificate, query["scope"][0])}).encode()

    with server(answer) as service:
        auth = {
            "realm": f"http://{service}/token",
            "service": "tests",
            "issuer": "tests",
            "rootcertbundle": str(bundle),
        }
        with registry(tmp_path / "open") as host:
            digest = push(host, "team/tiny", "1", "one")
        (tmp_path / "closed" / "data").symlink_to(tmp_path / "open" / "data")
        with registry(tmp_path / "closed", {"token": auth}) as host:
            assert find(host, "team/tiny:1", service) == digest
            with pytest.raises(NoDigest, match=f"sends clients to {service}"):
                find(host, "team/tiny:1")


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
    )
    return builder.sign(key, hashes.SHA256())


def token(key: rsa.RSAPrivateKey, certificate: x509.Certificate, scope: str) -> str:
    """A JSON web token that lets anybody read what the scope names."""
    kind, name, _ = scope.split(":")
    chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
    now = int(time.time())
    statements = {
        "iss": "tests",
        "aud": "tests",
        "sub": "",
        "jti": "1",
        "iat": now,
        "nbf": now - 60,
        "exp": now + 60,
        "access": [{"type": kind, "name": name, "actions": ["pull"]}],
    }
    parts = [{"alg": "RS256", "typ": "JWT", "x5c": chain}, statements]
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# ---- Answers that a real registry gives rarely

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(answer: Callable[[str], Answer]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"127.0.0.1:{made.server_address[1]}"
        finally:
            made.shutdown()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_registry_that_does_not_answer_must_pass_again_later(status: int) -> None:
    with server(lambda _: (status, {}, b"")) as host, pytest.raises(Unavailable, match=str(status)):
        find(host, "tiny:1")


def test_silence_and_a_closed_port_are_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "TIMEOUT_SECONDS", 0.2)
    stop = threading.Event()

    def silent(_: str) -> Answer:
        stop.wait(5)
        return 200, {}, b""

    with server(silent) as host:
        with pytest.raises(Unavailable, match="did not answer"):
            find(host, "tiny:1")
        stop.set()
    with pytest.raises(Unavailable, match="did not answer"):
        find(host, "tiny:1")


BASIC = {"WWW-Authenticate": 'Basic realm="theirs"'}
ELSEWHERE = {"WWW-Authenticate": 'Bearer realm="https://169.254.169.254/token"'}
REFUSALS: dict[str, tuple[Answer, str]] = {
    "forbidden": ((403, {}, b""), "denies access"),
    "credentials": ((401, BASIC, b""), "requires credentials"),
    "another host's token": ((401, ELSEWHERE, b""), "may not be asked"),
    "a redirect": ((302, {"Location": "http://169.254.169.254/"}, b""), "answered 302"),
    "no digest": ((200, {"Docker-Content-Digest": "md5:0"}, b""), "names no SHA-256 digest"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_registry_that_says_no_refuses_the_release(case: str) -> None:
    answer, why = REFUSALS[case]
    with server(lambda _: answer) as host, pytest.raises(NoDigest, match=why):
        find(host, "tiny:1")


def test_without_the_header_the_digest_is_computed_from_the_manifest() -> None:
    body = b'{"schemaVersion": 2}'
    with server(lambda _: (200, {}, body)) as host:
        assert find(host, "tiny:1") == f"sha256:{hashlib.sha256(body).hexdigest()}"


# ---- Names


@pytest.mark.parametrize(
    ("name", "host", "repository"),
    [
        ("tiny:1", "docker.io", "library/tiny"),
        ("vllm/vllm-openai:v1", "docker.io", "vllm/vllm-openai"),
        ("us-docker.pkg.dev/p/r/tiny:1", "us-docker.pkg.dev", "p/r/tiny"),
        ("localhost/tiny:1", "localhost", "tiny"),
        ("registry:5000/tiny:1", "registry:5000", "tiny"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(name: str, host: str, repository: str) -> None:
    parts = image(name)
    assert (parts.host, parts.repository) == (host, repository)


def test_a_refusal_gives_the_command_that_finds_the_digest() -> None:
    google = refusal(image("us-docker.pkg.dev/p/r/tiny:1"), "it says no")
    assert "gcloud artifacts docker images describe us-docker.pkg.dev/p/r/tiny:1" in google
    other = refusal(image("ghcr.io/p/tiny:1"), "it says no")
    assert "imagetools inspect ghcr.io/p/tiny:1 --format '{{.Manifest.Digest}}'" in other
