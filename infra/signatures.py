"""Verifies signatures of images and of approvals: ECDSA with SHA-256 on P-256 (as Cloud KMS, cosign
and openssl create them), or Ed25519.

Passed to the policy by `infra/settings.py`, for policies that name signers or approvers. The signed
text is a line of `rollout/policy/signers.py` or `handlers/command.py`; no network access. The
cryptography library is imported at first use.
Invariant: an invalid signature counts as no signature, and a key that cannot be parsed is an error,
not one signer fewer.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@lru_cache(maxsize=64)  # a pass asks the same question several times
def is_signed(text: str, signature: str, signers: tuple[str, ...]) -> bool:
    """Whether one of the signers, public keys in PEM form, signed the text. Raises ValueError for
    a signer that is not such a key.
    """
    keys = [_load_key(number, signer) for number, signer in enumerate(signers)]
    try:
        given = base64.b64decode(signature, validate=True)
    except binascii.Error:
        return False
    return any(_is_by(key, given, text.encode()) for key in keys)


def _is_by(key: EllipticCurvePublicKey | Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _load_key(number: int, signer: str) -> EllipticCurvePublicKey | Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    why = (
        f"settings/policy: signers[{number}] must be a public key in PEM form, of P-256 or Ed25519"
        " (one for each entry)"
    )
    if signer.count("-----BEGIN") > 1:  # of several keys only the first would count
        raise ValueError(why)
    try:
        key = load_pem_public_key(signer.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(why) from error
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    raise ValueError(why)
