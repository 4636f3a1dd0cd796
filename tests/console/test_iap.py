"""The dashboard behind Identity-Aware Proxy: what has not come through it is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth import crypt, jwt

from console.connect import Connection
from console.dashboard.app import App
from console.dashboard.iap import HEADER, ISSUER, KEPT_SECONDS, PAUSE_SECONDS, Iap, Keys
from console.dashboard.service import SELF_CHECK, Checked, make_app
from console.dashboard.sources import Sources
from infra.errors import Unavailable
from infra.store.port import Delete, Put
from tests.console.test_dashboard import Answer, get
from tests.scenario import PROJECT, Scenario

AUDIENCE = "/projects/1/locations/us-central1/services/slipway-dashboard"
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Google:
    """Serves keys on loopback. `seconds`: the time of whoever reads them."""

    def __init__(self) -> None:
        self.keys, self.reads, self.is_down, self.seconds = {"one": pem(KEY)}, 0, False, 0.0
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                google.reads += 1
                self.send_response(500 if google.is_down else 200)
                self.end_headers()
                self.wfile.write(json.dumps(google.keys).encode())

            def log_message(self, format: str, *values: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def make_keys(self) -> Keys:
        address = f"http://127.0.0.1:{self.server.server_port}/"
        return Keys(address, lambda: self.seconds)


@pytest.fixture
def google() -> Iterator[Google]:
    found = Google()
    yield found
    found.server.shutdown()
    found.server.server_close()


def token(key: Any = KEY, kid: str = "one", **payload: object) -> str:
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600, "email": "ann@example"}
    signer = crypt.RSASigner if isinstance(key, rsa.RSAPrivateKey) else crypt.ES256Signer
    return str(jwt.encode(signer(key, kid), usual | payload), "ascii")


def answer(app: App | Checked, header: str | None) -> Answer:
    return get(app, "/", more={HEADER: header} if header is not None else {})


@pytest.fixture
def app(google: Google) -> App:
    connection = Connection(Scenario().world, PROJECT, f"project {PROJECT}")
    return App(Sources(connection), None, Iap(AUDIENCE, google.make_keys()))


def test_what_the_proxy_lets_through_is_answered(app: App, google: Google) -> None:
    found = [answer(app, token()).status for _ in range(3)]
    assert (found, google.reads) == (["200 OK"] * 3, 1)


def _unsigned() -> str:
    _, payload, _ = token().split(".")
    return f"eyJhbGciOiJub25lIiwia2lkIjoib25lIn0.{payload}."


@pytest.mark.parametrize(
    ("make_header", "why"),
    [
        (lambda: None, "did not come through"),
        (lambda: "", "did not come through"),
        (lambda: "a.b.c", "not valid"),
        (lambda: "{{ 7 * 7 }}", "not valid"),
        (lambda: _unsigned(), "ES256"),
        (lambda: token(rsa.generate_private_key(65537, 2048)), "ES256"),
        (lambda: token(OTHER), "signature"),
        (lambda: token(kid="other"), "none of Google"),
        (lambda: token()[:-8] + "AAAAAAAA", "signature"),
        (
            lambda: token(aud="/projects/2/locations/us-central1/services/slipway-dashboard"),
            "audience",
        ),
        (lambda: token(aud=[AUDIENCE]), "audience"),
        (lambda: token(iss="https://accounts.google.com"), "issuer"),
        (lambda: token(exp=int(time.time()) - 60), "expired"),
        (lambda: token(iat=int(time.time()) + 600), "too early"),
        (lambda: token(exp="never"), "not valid"),
    ],
)
def test_everything_else_is_refused(
    app: App, make_header: Callable[[], str | None], why: str
) -> None:
    found = answer(app, make_header())
    assert found.status == "403 Forbidden"
    assert why in found.words
    assert "There are no models yet" not in found.words


def test_new_keys_are_read_but_not_for_everybody_who_names_one(google: Google) -> None:
    keys = google.make_keys()
    assert keys.find("one")
    assert [keys.find(f"x{n}") for n in range(9)] == [None] * 9
    assert google.reads == 1
    google.keys = {"two": pem(OTHER)}
    google.seconds = PAUSE_SECONDS
    assert keys.find("two") == pem(OTHER)
    assert keys.find("one") is None, "a key that Google has withdrawn"
    google.seconds += KEPT_SECONDS
    google.is_down = True
    assert keys.find("two"), "the last ones, while there is no answer"
    with pytest.raises(Unavailable, match="keys of Identity-Aware Proxy cannot be read: 500"):
        keys.find("three")


def test_keys_that_cannot_be_read_are_said_and_let_nobody_in(app: App, google: Google) -> None:
    google.is_down = True
    found = answer(app, token())
    assert found.status == "503 Service Unavailable"
    assert "keys of Identity-Aware Proxy cannot be read" in found.words


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"K_SERVICE": "slipway-dashboard"},
        {"SLIPWAY_DASHBOARD_PROXY": "yes"},
        {"SLIPWAY_DASHBOARD_PROXY": "other", "SLIPWAY_IAP_AUDIENCE": AUDIENCE},
    ],
)
def test_a_service_that_nobody_protects_does_not_start(more: dict[str, str]) -> None:
    environment = {"GOOGLE_CLOUD_PROJECT": "demo", "SLIPWAY_STORE": "sqlite::memory:"}
    with pytest.raises(ValueError, match="SLIPWAY_IAP_AUDIENCE must be"):
        make_app(environment | more)


def test_a_service_with_an_audience_refuses_what_the_proxy_has_not_signed() -> None:
    environment = {"GOOGLE_CLOUD_PROJECT": "demo", "SLIPWAY_STORE": "sqlite::memory:"}
    app = make_app(environment | {"SLIPWAY_IAP_AUDIENCE": AUDIENCE})
    assert answer(app, None).status == "403 Forbidden"


def test_a_startup_probe_needs_no_proxy_and_fails_if_documents_are_not_understood() -> None:
    scenario = Scenario()
    connection = Connection(scenario.world, PROJECT, f"project {PROJECT}")
    scenario.store.commit(Put("models/tiny", {"schema": 999}))
    app = Checked(App(Sources(connection), None, lambda _: "not signed"), connection)
    assert get(app, SELF_CHECK).status == "503 Service Unavailable"
    scenario.store.commit(Delete("models/tiny"))
    assert get(app, SELF_CHECK).status == "200 OK"
    assert answer(app, None).status == "403 Forbidden"
