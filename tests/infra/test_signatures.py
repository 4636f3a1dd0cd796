"""Image signatures. They were made with openssl, as docs/operations.md describes."""

from __future__ import annotations

import base64

import pytest

from infra.signatures import is_signed
from tests.signing import Signer

IMAGE = (
    "us-docker.pkg.dev/p/r/tiny@sha256:"
    "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
)


def pem(text: str) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"


P256 = pem(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+QCpFDzSoRk0Q1oVSwJIUMelVphp9w2UxO4cy1uaIT2XmFnC"
    "iLgpQ0mORCR95/HGGxEhgGAufZvGQrLV1UudnA=="
)
ED25519 = pem("MCowBQYDK2VwAyEAyHKtjUHVWdq0xc0umjqQPgYeDcsZjvETJBNygzgt99M=")
BY_P256 = (
    "MEYCIQCe/dIqT42zGXrV7V3vBZPmGcIQYhd2cvRAKWTmcKkM8gIhAK6g6knx89jORYkuAJkUnNVLWrfRQlUi"
    "E6YeHbMaxn+3"
)
BY_ED25519 = (
    "I/blBZVUA5qdrSy0/xSQxU0RHHCt0veZ14x8d8O8u6Y/B4LShCLscJI39Lyt7COuq4bbThrCjzVEDQcE/IuADg=="
)
P384 = pem(
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEp5r1bgYzaDA1pfcqUqPddZ766KqsQuPMqb9htKtsxK7NtordoWgB"
    "ZVtyZo+qFEk/z51YI+hjKNCRGa0p3IICrjnS1hrOGo5nonQexIeU3MdRywvICQu/9UrHIp4Nym14"
)


@pytest.mark.parametrize(
    ("key", "signature"), [(P256, BY_P256), (ED25519, BY_ED25519)], ids=["P-256", "Ed25519"]
)
def test_an_openssl_signature_is_valid_for_its_image_and_key_only(key: str, signature: str) -> None:
    other = ED25519 if key == P256 else P256
    assert is_signed(IMAGE, signature, (key,))
    assert is_signed(IMAGE, signature, (other, key))
    assert not is_signed(IMAGE, signature, (other,))
    assert not is_signed(IMAGE, signature, ())
    assert not is_signed(IMAGE.replace("/tiny@", "/huge@"), signature, (key,))
    assert not is_signed(IMAGE[:-1] + "f", signature, (key,))
    assert not is_signed(IMAGE + "\n", signature, (key,))


@pytest.mark.parametrize(
    "signature", ["", "A" * 88, "A" * 89, BY_P256[:-4], BY_P256[4:], "*" * 96, BY_P256 + "AAAA"]
)
def test_a_malformed_signature_is_invalid_and_not_an_error(signature: str) -> None:
    assert not is_signed(IMAGE, signature, (P256, ED25519))


def test_a_signature_with_any_bit_flipped_is_invalid() -> None:
    given = base64.b64decode(BY_ED25519)
    for place in range(len(given)):
        changed = bytes([*given[:place], given[place] ^ 1, *given[place + 1 :]])
        assert not is_signed(IMAGE, base64.b64encode(changed).decode(), (ED25519,)), place


def test_a_signature_by_a_generated_key_is_valid() -> None:
    signer = Signer()
    assert is_signed(IMAGE, signer.signature(IMAGE), (signer.public_key,))
    assert not is_signed(IMAGE, Signer().signature(IMAGE), (signer.public_key,))


@pytest.mark.parametrize(
    "signer",
    [
        *("", "ann@example.com", P256[:60], P384, pem("AAAA")),
        *(P256.replace("PUBLIC", "PRIVATE"), P256 + ED25519),
    ],
)
def test_an_invalid_signer_is_an_error_that_names_it(signer: str) -> None:
    with pytest.raises(ValueError, match=r"settings/policy: signers\[1\] must be a public key"):
        is_signed(IMAGE, BY_P256, (P256, signer))
