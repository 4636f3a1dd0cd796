"""Evaluation jobs: what they may answer, by HTTPS servers that answer as they should, lie, stall,
send too much or sit where no job may be.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.outbound import Outbound, is_public
from infra.verdicts.https import MAX_BYTES, HttpsVerdicts, read_verdict
from infra.verdicts.port import NoSecret
from infra.verdicts.signing import Secrets, read_secrets
from infra.wiring import _verdicts_maker
from rollout.measurements import ExternalVerdict, NoVerdict, VerdictAnswer, VerdictRequest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GATES = Path(__file__).parents[2] / "docs/gates.md"
HOST = "evals.example.com"
TEXT = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
SECRETS = read_secrets(TEXT)
REQUEST = VerdictRequest(
    gate="quality",
    url="",
    model="tiny",
    version="5",
    generation=7,
    baseline="4",
    phase="step_2",
    weight=5.0,
    since=NOW - timedelta(seconds=60),
    until=NOW,
)
PASS = b'{"verdict": "pass", "why": "98 of 100 answers are as good as those of 4"}'
Headers = Mapping[str, str]
Reply = tuple[int, Headers, bytes]


# ---- Signatures


def test_a_signature_is_that_of_the_specifications_example() -> None:
    """The example of Standard Webhooks, which its libraries reproduce."""
    secrets = read_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    message_id, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    assert secrets.sign(message_id, at, body) == {
        "webhook-id": message_id,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("text", ["", "  ", "k" * 32, "whsec_", "whsec_%%", "whsec_" + "QUFB" * 5])
def test_a_setting_that_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="SLIPWAY_GATE_SECRET") as error:
        read_secrets(text)
    secret = text.strip().removeprefix("whsec_")
    assert not secret or secret not in str(error.value)
    assert "k" * 32 not in repr(SECRETS)


def test_the_reconciler_needs_the_secret_and_the_intake_only_that_there_is_one() -> None:
    assert _verdicts_maker({}) is None
    flagged = _verdicts_maker({"SLIPWAY_HTTP_GATES": "signed"})
    secret = _verdicts_maker({"SLIPWAY_GATE_SECRET": TEXT})
    assert flagged
    assert secret
    assert isinstance(flagged(), NoSecret)
    assert isinstance(secret(), HttpsVerdicts)
    assert kind(flagged().ask(REQUEST, (HOST,), NOW)) == "no-secret"
    with pytest.raises(ValueError, match="SLIPWAY_HTTP_GATES"):
        _verdicts_maker({"SLIPWAY_HTTP_GATES": "yes"})


# ---- Addresses


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # the metadata server
        "fd20:ce::254",  # the metadata server
        "fe80::1",
        "fe80::1%eth0",
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "0.0.0.0",
        "::",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "fc00::1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "::7f00:1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::10.0.0.1",
        "2002:a9fe:a9fe::1",  # 6to4 of 169.254.169.254
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "2001:db8::1",
        "evals.example.com",
        "",
    ],
)
def test_no_internal_address_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "2607:f8b0:4005:80a::200e"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_no_gate_reaches_an_internal_address_whatever_the_name_says() -> None:
    """Without the tests' own permission to connect to this machine."""

    def counted(_: bytes, __: Headers) -> Reply:
        raise AssertionError("the server was reached")

    with job(counted) as port:
        for addresses in (("127.0.0.1",), ("8.8.8.8", "127.0.0.1"), ("::ffff:127.0.0.1",)):
            outbound = Outbound(
                4.0, MAX_BYTES, resolve=lambda *_, found=addresses: found, context=trusting()
            )
            answer = ask(port, outbound=outbound)
            assert kind(answer) == "not-allowed"
            assert "internal address" in answer.why


def test_a_name_is_resolved_once_and_its_checked_address_connected_to() -> None:
    resolved: list[str] = []

    def rebind(host: str, _: int) -> tuple[str, ...]:
        resolved.append(host)
        return ("127.0.0.1",) if len(resolved) == 1 else ("169.254.169.254",)

    with job(signed(PASS)) as port:
        answer = ask(port, outbound=local(resolve=rebind))
    assert verdict(answer) == "pass"
    assert resolved == [HOST]


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        (f"https://{HOST}/gate", ()),
        (f"https://{HOST}/gate", ("example.org",)),
        (f"https://{HOST}:8443/gate", (HOST,)),
        (f"https://{HOST}.evil.org/gate", (HOST,)),
        (f"https://evil.org/{HOST}", (HOST,)),
        (f"https://{HOST}@evil.org/gate", (HOST,)),
        (f"https://user:word@{HOST}/gate", ("example.com",)),
        (f"http://{HOST}/gate", (HOST,)),
        (f"https://{HOST}:port/gate", ("port",)),
        ("https://[/gate", (HOST,)),
        ("", (HOST,)),
    ],
)
def test_only_https_to_a_listed_host_without_credentials_is_spoken(
    url: str, hosts: tuple[str, ...]
) -> None:
    def unreached(host: str, _: int) -> tuple[str, ...]:
        raise AssertionError(f"{host} was resolved")

    verdicts = HttpsVerdicts(SECRETS, local(resolve=unreached))
    answer = verdicts.ask(with_url(url), hosts, NOW)
    assert kind(answer) == "not-allowed"
    assert "word" not in answer.why


def test_a_certificate_of_another_host_is_refused() -> None:
    with job(signed(PASS)) as port:
        url = f"https://other.example.com:{port}/gate"
        verdicts = HttpsVerdicts(SECRETS, local())
        answer = verdicts.ask(with_url(url), ("example.com", f"other.example.com:{port}"), NOW)
    assert kind(answer) == "http"
    assert "certificate" in answer.why


# ---- Answers


def test_a_query_names_the_candidate_and_its_window_and_is_signed() -> None:
    received: list[tuple[bytes, Headers]] = []

    def reply(body: bytes, headers: Headers) -> Reply:
        received.append((body, headers))
        return signed(PASS)(body, headers)

    with job(reply) as port:
        assert (
            ask(port)
            == ask(port)
            == ExternalVerdict("pass", "98 of 100 answers are as good as those of 4", NOW)
        )
    body, headers = received[0]
    assert json.loads(body) == {
        "id": "tiny:7:quality:step_2:20260101T120000Z",
        "gate": "quality",
        "model": "tiny",
        "version": "5",
        "generation": 7,
        "baseline": "4",
        "phase": "step_2",
        "weight": 5,
        "since": "2026-01-01T11:59:00Z",
        "until": "2026-01-01T12:00:00Z",
    }
    assert SECRETS.problem_of(headers, REQUEST.key, body, NOW) == ""
    assert headers["host"] == f"{HOST}:{port}"
    assert "authorization" not in headers
    assert received[0] == received[1]  # a query that is repeated is the same one


def test_each_window_phase_and_attempt_is_another_query() -> None:
    others = (
        REQUEST,
        VerdictRequest(**vars(REQUEST) | {"until": NOW + timedelta(seconds=60)}),
        VerdictRequest(**vars(REQUEST) | {"phase": "step_3"}),
        VerdictRequest(**vars(REQUEST) | {"generation": 8}),
        VerdictRequest(**vars(REQUEST) | {"gate": "toxicity"}),
        VerdictRequest(**vars(REQUEST) | {"model": "tiny-7"}),
    )
    assert len({each.key for each in others}) == len(others)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (PASS, "pass"),
        (b'{"verdict": "fail", "why": "it insults users", "score": 0.2}', "fail"),
        (b'{"verdict": "inconclusive", "why": "12 answers so far"}', "inconclusive"),
    ],
)
def test_a_signed_verdict_counts(body: bytes, expected: str) -> None:
    with job(signed(body)) as port:
        assert verdict(ask(port)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"null",
        b"[]",
        b'"pass"',
        b"[" * 60000,
        b'{"verdict": "pass"',
        b'{"verdict": "pass"}',
        b'{"verdict": "pass", "why": ""}',
        b'{"verdict": "pass", "why": " \\n "}',
        b'{"verdict": "pass", "why": ["good"]}',
        b'{"verdict": "PASS", "why": "good"}',
        b'{"verdict": "passed", "why": "good"}',
        b'{"verdict": true, "why": "good"}',
        b'{"verdict": ["pass"], "why": "good"}',
        b'{"verdict": "fail", "verdict": "pass", "why": "good"}',
        b'{"why": "good"}',
        b'{"verdict": "pass", "why": "\xff"}',
        b'{"verdict": "pass", "why": "good", "score": NaN}',
    ],
)
def test_whatever_else_is_signed_is_unreadable(body: bytes) -> None:
    assert kind(read_verdict(body, NOW)) == "unreadable"


def test_a_reason_is_one_short_line() -> None:
    why = "bad\r\n\x1b[31mnews\u202e" + "!" * 1000
    answer = read_verdict(json.dumps({"verdict": "fail", "why": why}).encode(), NOW)
    assert answer.why.startswith("bad \\x1b[31mnews\\u202e!!")
    assert len(answer.why) == 300


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (lambda body, headers: (200, {}, PASS), "webhook-id"),
        (lambda body, headers: (200, dict(headers), PASS), "by the gates' secret"),
        (lambda body, headers: forged(headers, secrets=read_secrets(OTHER)), "secret"),
        (lambda body, headers: forged(headers, at=NOW - timedelta(seconds=301)), "differs"),
        (lambda body, headers: forged(headers, at=NOW + timedelta(seconds=301)), "differs"),
        (lambda body, headers: forged(headers, message_id="tiny:6:quality"), "webhook-id"),
        (lambda body, headers: forged(headers, {"webhook-timestamp": "soon"}), "Unix time"),
        (lambda body, headers: forged(headers, {"webhook-timestamp": "1767268801"}), "secret"),
        (lambda body, headers: forged(headers, {"webhook-signature": ""}), "missing"),
        (lambda body, headers: forged(headers, {"webhook-signature": "v1,é"}), "secret"),
        (lambda body, headers: (*forged(headers)[:2], PASS.replace(b"98", b"99")), "secret"),
    ],
    ids=[
        "unsigned",
        "reflected",
        "another secret",
        "old",
        "future",
        "another query",
        "no time",
        "another time",
        "no signature",
        "strange signature",
        "changed",
    ],
)
def test_a_verdict_that_is_forged_changed_or_replayed_does_not_count(
    reply: Callable[[bytes, Headers], Reply], why: str
) -> None:
    with job(reply) as port:
        answer = ask(port)
    assert kind(answer) == "invalid-signature"
    assert why in answer.why


def test_an_answer_as_the_docs_make_it_counts() -> None:
    blocks = re.findall(r"```python\n(.*?)```", GATES.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(next(each for each in blocks if "def answer" in each), names)

    def reply(body: bytes, headers: Headers) -> Reply:
        return 200, *names["answer"](TEXT, headers["webhook-id"], "fail", "it insults users")

    with job(reply) as port:
        answer = ask(port, now=datetime.now(UTC))
    assert answer == ExternalVerdict("fail", "it insults users", NOW)


def test_secrets_are_exchanged_without_a_gap() -> None:
    """While both are set, a query carries both signatures, and either is accepted."""
    both = read_secrets(f"{OTHER} {TEXT}")
    with job(signed(PASS)) as port:
        assert verdict(ask(port, secrets=both)) == "pass"
    with job(signed(PASS, both)) as port:
        assert verdict(ask(port)) == "pass"


def test_a_query_sent_back_is_no_verdict() -> None:
    """It is signed with the same secret, with the right id and time."""
    with job(lambda body, headers: (200, headers, body)) as port:
        assert kind(ask(port)) == "unreadable"


@pytest.mark.parametrize("status", [201, 204, 400, 401, 404, 429, 500, 503])
def test_an_error_of_the_job_is_no_verdict_even_with_a_valid_signature(status: int) -> None:
    with job(lambda body, headers: (status, *signed(PASS)(body, headers)[1:])) as port:
        answer = ask(port)
    assert kind(answer) == "http"
    assert str(status) in answer.why


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    reached: list[Headers] = []

    def reply(_: bytes, headers: Headers) -> Reply:
        reached.append(headers)
        return status, {"Location": f"https://{HOST}:{port}/other"}, b""

    with job(reply) as port:
        assert kind(ask(port)) == "redirect"
    assert len(reached) == 1


# ---- Servers that speak as no job does


def test_an_endless_answer_ends_at_the_limit() -> None:
    def flood(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
        with suppress(OSError):
            while True:
                connection.sendall(b"a" * 65536)

    answer, seconds = ask_raw(flood)
    assert kind(answer) == "too-large"
    assert seconds < 2


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["silent", "in the status", "goes on", "in the body"],
)
def test_a_job_that_stalls_costs_the_deadline_and_no_thread(begin: bytes) -> None:
    """A byte now and then keeps every time-out of a socket from passing."""

    def trickle(connection: ssl.SSLSocket) -> None:
        with suppress(OSError):
            connection.sendall(begin)
            while begin:
                time.sleep(0.05)
                connection.sendall(b" ")
            connection.recv(1)  # until the other side ends it

    before = threading.active_count()
    answer, seconds = ask_raw(trickle, timeout_seconds=0.3)
    assert kind(answer) == "timeout"
    assert seconds < 1
    deadline = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_job_that_never_shakes_hands_costs_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        answer = ask(listener.getsockname()[1], outbound=local(timeout_seconds=0.3))
        assert kind(answer) == "timeout"
        assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70000 + b"\r\n\r\n{}",
    ],
    ids=["nothing", "ssh", "short", "short chunk", "many headers", "long header"],
)
def test_what_is_no_whole_answer_in_http_is_an_error(reply: bytes) -> None:
    answer, _ = ask_raw(lambda connection: connection.sendall(reply))
    assert kind(answer) == "http"


def test_a_host_without_an_address_or_a_server_is_an_error() -> None:
    def missing(*_: object) -> tuple[str, ...]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert kind(ask(443, outbound=local(resolve=missing))) == "http"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert kind(ask(port)) == "http"


# ---- A job on this machine


def ask(
    port: int,
    *,
    secrets: Secrets = SECRETS,
    outbound: Outbound | None = None,
    now: datetime = NOW,
) -> VerdictAnswer:
    verdicts = HttpsVerdicts(secrets, outbound or local())
    return verdicts.ask(with_url(f"https://{HOST}:{port}/gate"), (f"{HOST}:{port}",), now)


def ask_raw(
    speak: Callable[[ssl.SSLSocket], None], timeout_seconds: float = 4.0
) -> tuple[VerdictAnswer, float]:
    """The answer of a server that speaks TLS and then anything, and how long it took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            plain, _ = listener.accept()
            with suppress(OSError), server_context().wrap_socket(plain, server_side=True) as tls:
                received = b""
                while not received.endswith(b"}"):
                    received += tls.recv(65536)
                speak(tls)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        started = time.monotonic()
        answer = ask(listener.getsockname()[1], outbound=local(timeout_seconds=timeout_seconds))
        seconds = time.monotonic() - started
        thread.join(10)
        return answer, seconds


def with_url(url: str) -> VerdictRequest:
    return VerdictRequest(**vars(REQUEST) | {"url": url})


def local(**more: Any) -> Outbound:
    """Requests that may reach this machine, as `HOST`."""
    defaults: dict[str, Any] = {"timeout_seconds": 4.0, "max_bytes": MAX_BYTES}
    defaults |= {"may_connect": lambda address: address == "127.0.0.1", "context": trusting()}
    return Outbound(**defaults | {"resolve": lambda *_: ("127.0.0.1",)} | more)


@contextmanager
def job(reply: Callable[[bytes, Headers], Reply]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received = {name.lower(): text for name, text in self.headers.items()}
            status, headers, answer = reply(body, received)
            self.send_response(status)
            for name, text in headers.items():
                if name.startswith("webhook-") or name in ("Location", "Retry-After"):
                    self.send_header(name, text)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keeps the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.socket = server_context().wrap_socket(
            made.socket, server_side=True, do_handshake_on_connect=False
        )
        made.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield made.server_address[1]
        finally:
            made.shutdown()


def signed(answer: bytes, secrets: Secrets = SECRETS) -> Callable[[bytes, Headers], Reply]:
    """A job that verifies the query, as it should, and signs its answer."""

    def reply(body: bytes, headers: Headers) -> Reply:
        query_id = json.loads(body)["id"]
        assert secrets.problem_of(headers, query_id, body, NOW) == ""
        return 200, secrets.sign(query_id, NOW, answer), answer

    return reply


def forged(
    headers: Headers,
    changes: Headers | None = None,
    *,
    secrets: Secrets = SECRETS,
    at: datetime = NOW,
    message_id: str = "",
) -> Reply:
    found = secrets.sign(message_id or headers["webhook-id"], at, PASS)
    return 200, found | dict(changes or {}), PASS


def kind(answer: VerdictAnswer) -> str:
    assert isinstance(answer, NoVerdict), answer
    return answer.kind


def verdict(answer: VerdictAnswer) -> str:
    assert isinstance(answer, ExternalVerdict), answer
    return answer.verdict


@cache
def certificate() -> tuple[bytes, bytes]:
    """A certificate of `HOST` that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@cache
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate()[0].decode())


@cache
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(b"".join(certificate()))
        context.load_cert_chain(path)
    return context
