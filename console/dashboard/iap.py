"""Verifies that a request came through Identity-Aware Proxy: its signed header, by Google's keys.

A service that anybody reaches past the proxy, by a mistake in IAM or in a load balancer, would show
all models. So the header is verified as well. Source: IAP, "Securing your app with signed headers".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import requests
from google.auth import jwt

from infra.errors import Unavailable

HEADER = "HTTP_X_GOOG_IAP_JWT_ASSERTION"
ISSUER = "https://cloud.google.com/iap"
KEYS = "https://www.gstatic.com/iap/verify/public_key"
KEPT_SECONDS = 3600.0
PAUSE_SECONDS = 30.0
SKEW_SECONDS = 30
TIMEOUT_SECONDS = 5.0


class Keys:
    """The proxy's public keys by their ids, in PEM form. They change: a new id is looked for at
    once, but not more often than every `PAUSE_SECONDS`, since anybody may name one.
    """

    def __init__(self, address: str = KEYS, timer: Callable[[], float] = time.monotonic) -> None:
        self._address, self._timer = address, timer
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        self._read_at: float | None = None

    def find(self, key_id: str) -> str | None:
        """Raises `Unavailable` if they cannot be read and this one is not kept."""
        with self._lock:
            age = None if self._read_at is None else self._timer() - self._read_at
            is_old = age is None or age >= KEPT_SECONDS
            if is_old or (key_id not in self._keys and age is not None and age >= PAUSE_SECONDS):
                self._read(key_id)
            return self._keys.get(key_id)

    def _read(self, key_id: str) -> None:
        try:
            answer = requests.get(self._address, timeout=TIMEOUT_SECONDS)
            answer.raise_for_status()
            self._keys = {str(name): str(key) for name, key in answer.json().items()}
            self._read_at = self._timer()
        except (requests.RequestException, ValueError, AttributeError) as error:
            if key_id not in self._keys:
                why = f"the keys of Identity-Aware Proxy cannot be read: {error}"
                raise Unavailable(why) from error


class Iap:
    """Says why a request is refused, empty if it is not. `audience`: the `aud` claim of the proxy's
    tokens for this service, such as `/projects/1/locations/us-central1/services/slipway-dashboard`.
    """

    def __init__(self, audience: str, keys: Keys) -> None:
        self._audience, self._keys = audience, keys

    def __call__(self, environ: Mapping[str, object]) -> str:
        token = str(environ.get(HEADER) or "")
        if not token:
            return "the request did not come through Identity-Aware Proxy"
        try:
            return self._problem(token)
        except (ValueError, TypeError, KeyError) as error:
            return f"the header of Identity-Aware Proxy is not valid: {error}"

    def _problem(self, token: str) -> str:
        header = jwt.decode_header(token)
        if header.get("alg") != "ES256":  # the one that the proxy uses; "none" is one, too
            raise ValueError("its algorithm must be ES256")
        key = self._keys.find(str(header.get("kid")))
        if key is None:
            raise ValueError("its key is none of Google's")
        payload = jwt.decode(
            token, key, audience=self._audience, clock_skew_in_seconds=SKEW_SECONDS
        )
        if payload.get("iss") != ISSUER:
            raise ValueError(f"its issuer must be {ISSUER}")
        return ""
