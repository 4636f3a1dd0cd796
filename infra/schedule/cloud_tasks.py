"""The scheduler on Google Cloud Tasks: a task that publishes the wake-up at its time, by a request
to Pub/Sub's own API.

Created by `infra/wiring.py`. It speaks REST through google-auth's session, which the Compute client
has imported already; the client library of Cloud Tasks would add a third of a second to a cold
start. A task's name makes a repeat harmless. Cloud Tasks blocks a name for hours after its task has
run, so the name carries the number of the wake-up, which is never used again. It begins with a
hash, because names that begin alike slow a queue down. Source: Cloud Tasks REST reference,
`projects.locations.queues.tasks`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError

from infra.errors import Unavailable
from infra.store import outbox

HOST = "https://cloudtasks.googleapis.com"
PUBSUB = "https://pubsub.googleapis.com/v1"
SCOPE = "https://www.googleapis.com/auth/pubsub"
TIMEOUT_SECONDS = 5.0


class CloudTasks:
    """`queue` is a full name, `projects/P/locations/L/queues/Q`. The tasks publish as the service
    account `account`. `endpoint` replaces Google's API, for an emulator that wants no credentials.
    """

    def __init__(self, project: str, queue: str, account: str, endpoint: str | None = None) -> None:
        self._project, self._queue, self._account = project, queue, account
        self._url = f"{endpoint or HOST}/v2/{queue}/tasks"
        self._session = requests.Session() if endpoint else _authorized_session()

    def schedule(self, model: str, number: int, at: datetime) -> None:
        task = task_of(self._project, self._queue, self._account, model, number, at)
        try:
            answer = self._session.post(self._url, json={"task": task}, timeout=TIMEOUT_SECONDS)
        except (requests.RequestException, GoogleAuthError) as error:
            raise Unavailable(f"no answer from Cloud Tasks: {error}") from error
        if answer.status_code not in (200, 409):  # 409: it is scheduled already
            raise Unavailable(
                f"Cloud Tasks did not take a task for {self._queue} ({answer.status_code}):"
                f" {answer.text[:500]}"
            )


def task_of(
    project: str, queue: str, account: str, model: str, number: int, at: datetime
) -> dict[str, Any]:
    """The task that publishes the wake-up."""
    data = base64.b64encode(outbox.wakeup(model, number)).decode()
    body = json.dumps({"messages": [{"data": data}]}).encode()
    name = f"{model}-{number}"
    return {
        "name": f"{queue}/tasks/{hashlib.sha256(name.encode()).hexdigest()[:8]}-{name}",
        "scheduleTime": at.isoformat().replace("+00:00", "Z"),
        "httpRequest": {
            "httpMethod": "POST",
            "url": f"{PUBSUB}/projects/{project}/topics/{outbox.WAKEUPS}:publish",
            "headers": {"Content-Type": "application/json"},
            "body": base64.b64encode(body).decode(),
            "oauthToken": {"serviceAccountEmail": account, "scope": SCOPE},
        },
    }


def _authorized_session() -> requests.Session:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    session: requests.Session = AuthorizedSession(credentials)
    return session
