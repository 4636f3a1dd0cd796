"""Reads what a project has by Google's REST APIs, each part for itself. Only for `slipway doctor`.

Whoever runs it may lack some rights, so a read has an answer or says why it has none, and never
raises. Source: REST references of Cloud Run, Cloud Tasks, Cloud Scheduler, Firestore, Cloud Logging
and Cloud Monitoring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError

from console.examine import names
from console.examine.answer import Answer, NoAnswer, Reading
from infra.identity.record import TESTED

TIMEOUT_SECONDS = 10.0
AT_ONCE = 8
SINCE = timedelta(minutes=30)
"""Of measurements. Those of Pub/Sub and of quotas arrive minutes late."""
LIMITS_SINCE = timedelta(days=2)
"""Google writes the limit of a quota once a day."""
LOGS_SINCE = timedelta(days=30)
"""As long as Cloud Logging keeps them."""
USED = "serviceruntime.googleapis.com/quota/rate/net_usage"
LIMIT = "serviceruntime.googleapis.com/quota/limit"
OLDEST = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
UNDELIVERED = "pubsub.googleapis.com/subscription/num_undelivered_messages"


class Cloud:
    """`endpoint` replaces all of Google's, for a test that needs no credentials."""

    def __init__(self, project: str, database: str, endpoint: str = "") -> None:
        self._project, self.database, self._endpoint = project, database, endpoint
        self._session: Any = requests.Session() if endpoint else _authorized_session()

    def read(self, region: str, now: datetime) -> Reading:
        """Everything at once."""
        place = f"projects/{self._project}/locations/{region}"
        databases = f"v1/projects/{self._project}/databases"
        database = f"{databases}/{self.database}"
        fields = f"{database}/collectionGroups/-/fields"
        jobs: dict[str, Callable[[], Answer]] = {
            each.service: partial(self._get, "run", f"v2/{place}/services/{each.service}")
            for each in names.FUNCTIONS
        }
        services = [*jobs]
        jobs |= {
            f"callers of {name}": partial(
                self._get, "run", f"v2/{place}/services/{name}:getIamPolicy"
            )
            for name in services
        }
        jobs |= {
            "database": lambda: self._get("firestore", database),
            "settings": lambda: self._get("firestore", f"{databases}/{names.SETTINGS_DATABASE}"),
            "fields": lambda: self._fields(fields, "indexConfig.usesAncestorConfig:false"),
            "expiring": lambda: self._fields(fields, "ttlConfig:*"),
            "queue": lambda: self._get("cloudtasks", f"v2/{place}/queues/{names.QUEUE}"),
            "tick": lambda: self._get("cloudscheduler", f"v1/{place}/jobs/{names.TICK}"),
            "used": lambda: self._series(USED, now, SINCE, _QUOTA, _BY_MINUTE),
            "limits": lambda: self._series(LIMIT, now, LIMITS_SINCE, _QUOTA),
            "oldest": lambda: self._series(OLDEST, now, SINCE),
            "undelivered": lambda: self._series(UNDELIVERED, now, SINCE),
        }
        silent = [each.service for each in names.FUNCTIONS if not each.writes]
        for name in silent:
            jobs[f"log {name}"] = partial(self._last_log, name, now)
        found = _run_all(jobs)
        return Reading(
            services={name: found.pop(name) for name in services},
            callers={name: found.pop(f"callers of {name}") for name in services},
            logged={name: found.pop(f"log {name}") for name in silent},
            **found,
        )

    def _fields(self, path: str, condition: str) -> Answer:
        return self._get("firestore", path, {"filter": condition, "pageSize": 300})

    def _series(
        self,
        metric: str,
        until: datetime,
        period: timedelta,
        condition: str = "",
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:
        parameters = {
            "filter": f'metric.type = "{metric}"{condition}',
            "interval.startTime": _rfc3339(until - period),
            "interval.endTime": _rfc3339(until),
            **more,
        }
        return self._get("monitoring", f"v3/projects/{self._project}/timeSeries", parameters)

    def _last_log(self, service: str, now: datetime) -> Answer:
        """The last time that a function without documents tested itself."""
        body = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": f'resource.type="cloud_run_revision" resource.labels.service_name="{service}"'
            f' jsonPayload.message="{TESTED}" timestamp>="{_rfc3339(now - LOGS_SINCE)}"',
            "orderBy": "timestamp desc",
            "pageSize": 1,
        }
        return self._request("POST", "logging", "v2/entries:list", json=body)

    def _get(self, host: str, path: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        return self._request("GET", host, path, params=parameters)

    def _request(self, method: str, host: str, path: str, **options: Any) -> Answer:
        base = self._endpoint or f"https://{host}.googleapis.com"
        try:
            answer = self._session.request(
                method, f"{base}/{path}", timeout=TIMEOUT_SECONDS, **options
            )
            body = answer.json()
        except (requests.RequestException, GoogleAuthError, ValueError) as error:
            return NoAnswer("failed", f"{host}.googleapis.com does not answer: {error}"[:200])
        if answer.status_code == 200 and isinstance(body, dict):
            return body
        why = f"{host}.googleapis.com: {_message(body)}"
        if answer.status_code == 404:
            return NoAnswer("absent", why)
        return NoAnswer("denied" if answer.status_code in (401, 403) else "failed", why)


_QUOTA = (
    ' AND resource.type = "consumer_quota" AND resource.labels.service = "compute.googleapis.com"'
)
_BY_MINUTE = {
    "aggregation.alignmentPeriod": "60s",
    "aggregation.perSeriesAligner": "ALIGN_SUM",
    "aggregation.crossSeriesReducer": "REDUCE_SUM",
    "aggregation.groupByFields": ["metric.labels.quota_metric", "resource.labels.location"],
}
"""Requests by quota and region in each minute."""


def _run_all(jobs: Mapping[str, Callable[[], Answer]]) -> dict[str, Any]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: future.result() for name, future in futures.items()}


def _message(body: Any) -> str:
    try:
        return str(body["error"]["message"]).partition("\n")[0][:200]
    except (KeyError, TypeError):
        return "an answer that is not understood"


def _rfc3339(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _authorized_session() -> Any:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    scope = "https://www.googleapis.com/auth/cloud-platform"
    credentials, _ = google.auth.default(scopes=[scope])
    return AuthorizedSession(credentials)
