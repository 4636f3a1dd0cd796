"""The certificates of an HTTPS rule: the proxy's own where they can be used, else self-signed
ones.

A self-managed certificate is served with its key. A managed one has no key that could be used,
and an invalid certificate cannot be served: in both cases the client gets a self-signed
certificate for the managed domains, `localhost` and 127.0.0.1, created once per process. The
certificate that matches the requested name is chosen, else the proxy's first. Source:
load-balancing/docs/ssl-certificates, multiple SSL certificates.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from ipaddress import ip_address
from tempfile import NamedTemporaryFile

from compute_emulator.rules import certificates

LIFE = timedelta(days=90)


@dataclass(frozen=True)
class Certificate:
    """A chain and its key as PEM. Both are empty for a managed certificate, which has `domains`
    instead.
    """

    chain: str = ""
    key: str = ""
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerCertificate:
    """A certificate that can be served; `why` says why it replaces the configured one, if it
    does.
    """

    names: tuple[str, ...]
    chain: str
    context: ssl.SSLContext
    why: str = ""


class ServerCertificates:
    """The certificates of one rule. `context` is for the listening socket; it follows changes of
    the certificates.
    """

    def __init__(self, certificates: Sequence[Certificate]) -> None:
        self.context = _context()
        self.configure(certificates)
        self.context.sni_callback = self._choose

    def configure(self, certificates: Sequence[Certificate]) -> None:
        self.served = tuple(server_certificate(each) for each in certificates) or (
            server_certificate(Certificate()),
        )

    def certificate_for(self, server: str | None) -> ServerCertificate:
        """The certificate for the name that a client asks for; the first one for an unknown
        name.
        """
        server_name = (server or "").lower()
        return next(
            (
                each
                for each in self.served
                if any(_covers(name, server_name) for name in each.names)
            ),
            self.served[0],
        )

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, server: str | None, context: ssl.SSLContext
    ) -> None:
        connection.context = self.certificate_for(server).context


def _covers(name: str, server_name: str) -> bool:
    """`*.example.com` covers one label."""
    return fnmatchcase(server_name, name) and server_name.count(".") == name.count(".")


@cache
def server_certificate(certificate: Certificate) -> ServerCertificate:
    """The certificate that will be served."""
    if not certificate.chain:
        return self_signed(certificate.domains)
    try:
        return ServerCertificate(
            certificates.read(certificate.chain).names,
            certificate.chain,
            _load_context(certificate.chain, certificate.key),
        )
    except (ValueError, OSError) as error:  # SSLError is an OSError
        created = self_signed(certificate.domains)
        return ServerCertificate(
            created.names,
            created.chain,
            created.context,
            f"a self-signed certificate is served: {error}",
        )


@cache
def self_signed(domains: tuple[str, ...]) -> ServerCertificate:
    """Uses an elliptic curve key, which takes a millisecond to create; an RSA key takes up to a
    second.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key, names, now = (
        ec.generate_private_key(ec.SECP256R1()),
        (*domains, "localhost"),
        datetime.now(UTC),
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    alternatives = [x509.DNSName(name) for name in (*domains, "localhost")] + [
        x509.IPAddress(ip_address("127.0.0.1"))
    ]
    created = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    chain = created.public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return ServerCertificate(names, chain, _load_context(chain, private))


def _context() -> ssl.SSLContext:
    created = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    created.set_alpn_protocols(["http/1.1"])
    return created


def _load_context(chain: str, key: str) -> ssl.SSLContext:
    """A context with a certificate. The ssl module reads files only; these are deleted on
    return.
    """
    context = _context()
    with (
        NamedTemporaryFile("w", suffix=".pem") as chain_file,
        NamedTemporaryFile("w", suffix=".pem") as key_file,
    ):
        for file, text in ((chain_file, chain), (key_file, key)):
            file.write(text)
            file.flush()
        context.load_cert_chain(chain_file.name, key_file.name, password=_no_password)
    return context


def _no_password() -> str:
    """Called for the password of an encrypted key: there is no one to enter it."""
    raise ValueError("the private key is encrypted")
