"""Asks a registry for the digest of a tag, by the registry protocol, version 2 (OCI distribution
specification): Artifact Registry, Docker Hub, GitHub's registry and others.

Called by the intake through the port, for a release whose image is a tag. It connects only to hosts
on the policy's list, follows no redirect, and needs only a few seconds. Invariant: a registry that
answers refuses for good (`NoDigest`), one that does not is asked again later (`Unavailable`).
`requests` and google-auth are imported at first use: a release by digest needs neither.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.errors import Unavailable
from infra.outbound import is_loopback, is_safe
from infra.registry.port import NoDigest
from rollout.spec.images import DOCKER_HUB, TaggedImage, is_listed, unlisted_registry

if TYPE_CHECKING:
    from requests import Response, Session

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 4 * 1024 * 1024  # of a manifest; registries accept no larger one
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FIELD = re.compile(r'(\w+)="([^"]*)"')
_NOT_ANSWERED = (408, 425, 429)
_DENIED = (401, 403)


class HttpsRegistry:
    """Asks Google's registries as the function's own identity, others without credentials. Plain
    HTTP is spoken to a registry on this machine only, as in Docker.
    """

    def find_digest(self, image: TaggedImage, registries: tuple[str, ...]) -> str:
        why = unlisted_registry(image, registries)
        if why:
            raise NoDigest(why)
        url = f"{_origin(image.host)}/v2/{image.repository}/manifests/{image.tag}"
        headers = {"Accept": MANIFESTS}
        token = self._google_token() if image.is_googles else ""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = self._request("HEAD", url, headers)
        if answer.status_code == 401 and "Authorization" not in headers:
            token = self._token(image, answer.headers.get("WWW-Authenticate", ""), registries)
            headers["Authorization"] = f"Bearer {token}"
            answer = self._request("HEAD", url, headers)
        _check(image, answer)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not digest:  # the header is optional
            answer = self._request("GET", url, headers)
            _check(image, answer)
            digest = f"sha256:{hashlib.sha256(_body(answer)).hexdigest()}"
        if not _DIGEST.fullmatch(digest):
            raise NoDigest(f"{image.host} names no SHA-256 digest")
        return digest

    def _token(self, image: TaggedImage, challenge: str, registries: tuple[str, ...]) -> str:
        """A token from the service that the registry names, for anonymous reading."""
        scheme, _, rest = challenge.partition(" ")
        fields = dict(_FIELD.findall(rest)) if scheme.lower() == "bearer" else {}
        realm = urlsplit(fields.get("realm") or "")
        if not realm.netloc:
            raise NoDigest(f"{image.host} requires credentials")
        if not is_listed(realm.netloc, registries) or not is_safe(realm.scheme, realm.netloc):
            raise NoDigest(f"{image.host} sends clients to {realm.netloc}, which may not be asked")
        query = {name: fields[name] for name in ("service", "scope") if fields.get(name)}
        query.setdefault("scope", f"repository:{image.repository}:pull")
        answer = self._request("GET", realm.geturl(), {}, query)
        _check(image, answer)
        try:
            document: Any = json.loads(_body(answer))
        except ValueError:
            document = {}
        found = isinstance(document, dict) and (
            document.get("token") or document.get("access_token")
        )
        if not isinstance(found, str) or not found.isprintable():
            raise NoDigest(f"{realm.netloc} gave no token")
        return found

    @cached_property
    def _session(self) -> Session:
        from requests import Session

        return Session()

    @cached_property
    def _credentials(self) -> Any:
        """The function's identity, or None where there is none, as on a laptop."""
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        try:
            credentials, _ = google.auth.default(scopes=SCOPES)
        except DefaultCredentialsError:
            return None
        return credentials

    def _google_token(self) -> str:
        if self._credentials is None:
            return ""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        if not self._credentials.valid:
            try:
                self._credentials.refresh(partial(Request(), timeout=TIMEOUT_SECONDS))
            except GoogleAuthError as error:
                raise Unavailable(f"no access token for the registry: {error}") from error
        token: str = self._credentials.token
        return token

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], query: Mapping[str, str] = {}
    ) -> Response:
        from requests import RequestException

        try:
            return self._session.request(
                method,
                url,
                headers=dict(headers),
                params=dict(query),
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                stream=True,
            )
        except RequestException as error:
            raise Unavailable(f"{urlsplit(url).netloc} did not answer: {error}") from error


def _check(image: TaggedImage, answer: Response) -> None:
    status = answer.status_code
    if status == 200:
        return
    if status in _NOT_ANSWERED or status >= 500:
        raise Unavailable(f"{image.host} answered {status} for {image.name}")
    if status == 404:
        raise NoDigest(f"{image.host} has no such image")
    if status in _DENIED:
        hint = (
            "; grant the intake's identity roles/artifactregistry.reader on the repository"
            if image.is_googles
            else ""
        )
        raise NoDigest(f"{image.host} denies access ({status}){hint}")
    raise NoDigest(f"{image.host} answered {status}")


def _body(answer: Response) -> bytes:
    from requests import RequestException

    parts: list[bytes] = []
    try:
        for part in answer.iter_content(64 * 1024):
            parts.append(part)
            if sum(map(len, parts)) > MAX_BYTES:
                raise NoDigest(f"{urlsplit(answer.url).netloc} sent more than {MAX_BYTES} bytes")
    except RequestException as error:
        raise Unavailable(f"{urlsplit(answer.url).netloc} did not answer: {error}") from error
    return b"".join(parts)


def _origin(host: str) -> str:
    if host == DOCKER_HUB:
        return "https://registry-1.docker.io"
    return f"http://{host}" if is_loopback(host) else f"https://{host}"
