"""What a PEM certificate says about itself. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Facts(NamedTuple):
    """The names are those of the extension `subjectAltName`, in lower case."""

    expires: datetime
    names: tuple[str, ...]


def read(chain: str) -> Facts:
    """Of the first certificate of a chain. Raises ValueError for an invalid one."""
    from cryptography import x509

    found = x509.load_pem_x509_certificate(chain.encode())
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = extension.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    return Facts(found.not_valid_after_utc, tuple(name.lower() for name in names))
