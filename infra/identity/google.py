"""The function's own identity on Google Cloud: who and where it is, and which permissions it has.

Created by `infra/wiring.py`, used by `handlers/self_test.py`. `testIamPermissions` needs no
permission itself. REST through google-auth's session: it is called a few times an hour, and client
libraries would cost memory in each function. Source: REST references of Resource Manager, Pub/Sub,
IAM and Cloud Tasks, `testIamPermissions`; Compute Engine, metadata server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError

from infra.errors import Unavailable
from infra.identity.needs import Kind, Need

METADATA = "http://metadata.google.internal"
TIMEOUT_SECONDS = 5.0
AT_ONCE = 50
"""So many permissions in a request."""


class GoogleIdentity:
    """`endpoint` replaces all of Google's, for a test that needs no credentials."""

    def __init__(self, project: str, endpoint: str = "") -> None:
        self._project, self._endpoint = project, endpoint
        self._session: Any = requests.Session() if endpoint else _authorized_session()

    def account(self) -> str:
        """The email of the service account."""
        return self._metadata("instance/service-accounts/default/email")

    def region(self) -> str:
        return self._metadata("instance/region").rpartition("/")[2]

    def missing(self, need: Need) -> tuple[str, ...]:
        """The permissions that it lacks. Raises `Unavailable` if that cannot be tested."""
        granted = {each for chunk in _chunks(need.permissions) for each in self._test(need, chunk)}
        return tuple(each for each in need.permissions if each not in granted)

    def _test(self, need: Need, permissions: tuple[str, ...]) -> list[str]:
        """Twice if need be: without an event an instance gets no CPU, and time runs out."""
        try:
            return self._test_once(need, permissions)
        except Unavailable:
            return self._test_once(need, permissions)

    def _test_once(self, need: Need, permissions: tuple[str, ...]) -> list[str]:
        url = self._url(need.kind, need.name)
        try:
            answer = self._session.post(
                url, json={"permissions": permissions}, timeout=TIMEOUT_SECONDS
            )
            if answer.status_code == 404:  # what does not exist grants nothing
                return []
            if answer.status_code != 200:
                raise Unavailable(f"{answer.status_code}: {_message(answer)}")
            return [str(each) for each in answer.json().get("permissions", ())]
        except (requests.RequestException, GoogleAuthError, ValueError) as error:
            raise Unavailable(f"no answer: {error}") from error

    def _url(self, kind: Kind, name: str) -> str:
        host, path = {
            "project": ("cloudresourcemanager", f"v1/projects/{name}"),
            "topic": ("pubsub", f"v1/projects/{self._project}/topics/{name}"),
            "service account": ("iam", f"v1/projects/-/serviceAccounts/{name}"),
            "queue": ("cloudtasks", f"v2/{name}"),
        }[kind]
        base = self._endpoint or f"https://{host}.googleapis.com"
        return f"{base}/{path}:testIamPermissions"

    def _metadata(self, path: str) -> str:
        """Empty if the metadata server does not answer."""
        url = f"{self._endpoint or METADATA}/computeMetadata/v1/{path}"
        try:
            answer = requests.get(
                url, headers={"Metadata-Flavor": "Google"}, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException:
            return ""
        return answer.text.strip() if answer.status_code == 200 else ""


def _chunks(permissions: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(permissions), AT_ONCE):
        yield permissions[start : start + AT_ONCE]


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]


def _authorized_session() -> Any:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return AuthorizedSession(credentials)
