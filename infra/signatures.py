"""Checks who signed an image: ECDSA over SHA-256 (P-256, as Cloud KMS, cosign and openssl make it)
or Ed25519.

Called through `rollout/policy/policy.py` by way of `infra/store/repository.py`, for a policy that
names signers. What is signed is the image's name as the release has it, up to its digest; nobody is
asked over the network. The library is imported when first needed. Invariant: whatever is not a good
signature is none, and a key that cannot be read is an error, not a signer less."""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@lru_cache(maxsize=64)  # a turn asks the same at every look
def is_signed(image: str, signature: str, signers: tuple[str, ...]) -> bool:
    """Raises ValueError for a signer that is no public key of these kinds."""
    keys = [_key(number, signer) for number, signer in enumerate(signers)]
    try:
        given = base64.b64decode(signature, validate=True)
    except binascii.Error:
        return False
    return any(_is_by(key, given, image.encode()) for key in keys)


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


def _key(number: int, signer: str) -> EllipticCurvePublicKey | Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    why = (
        f"settings/policy: signers[{number}] must be a public key in PEM form, of P-256 or Ed25519"
    )
    try:
        key = load_pem_public_key(signer.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(why) from error
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    raise ValueError(why)
