"""Judges the functions by what they recorded when they tested themselves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from console.examine import names
from console.examine.answer import Answer, NoAnswer
from console.examine.finding import Finding, left_out, right, some, wrong
from console.examine.names import Function
from console.text import span
from infra.identity.record import FunctionRecord, function_from_document
from infra.version import number_of

OLD = timedelta(minutes=40)
"""The tick wakes the reconciler each minute, and it tests itself every 15 minutes."""


def of_function(
    function: Function,
    found: FunctionRecord | NoAnswer | None,
    service: Answer,
    callers: Answer,
    project: str,
    now: datetime,
) -> Finding:
    """`found`: what it recorded, None if nothing; `service` and `callers`: what Cloud Run says of
    it, and who may call it.
    """
    check, deploy = function.service, function.deploy(project)
    if function.is_public and isinstance(service, NoAnswer) and service.kind == "absent":
        return left_out(check, "it is not deployed, and needed for webhooks alone", deploy)
    if problem := _problem_of_service(service):
        return wrong(check, problem, deploy)
    if problem := _problem_of_callers(function, callers, project):
        return wrong(check, problem, f"Run deploy/bootstrap.sh --project={project}")
    if isinstance(found, NoAnswer):
        role = "roles/datastore.viewer" if function.writes else "roles/logging.viewer"
        what = f"what it recorded could not be read ({found.why})"
        return left_out(check, what, f"Ask for {role}")
    logs = (
        f"gcloud logging read --project={project} --limit=20"
        f" 'resource.labels.service_name={function.service}'"
    )
    if found is None:
        lost = "or may not write documents" if function.writes else "for a month"
        what = f"it has recorded no test of itself: it has not run, {lost}"
        return wrong(check, what, f"{deploy}; if that does not help, read {logs}")
    deployed = _revision_of(service)
    if deployed and found.revision != deployed:
        what = f"revision {deployed} has recorded nothing; the last record is of {found.revision}"
        return wrong(check, what, f"If it was deployed minutes ago, wait for one; else read {logs}")
    return _of_record(check, function, found, project, now, logs)


def _of_record(
    check: str, function: Function, record: FunctionRecord, project: str, now: datetime, logs: str
) -> Finding:
    ago = span(now - record.at)
    who = record.account or function.service
    if record.lacks:
        lacks = "; ".join(f"{some(each.permissions)} on {each.resource}" for each in record.lacks)
        todo = f"Run deploy/bootstrap.sh --project={project}; the function tests again in 15 min"
        return wrong(check, f"{who} lacks {lacks} (tested {ago} ago)", todo)
    if function == names.RECONCILER and now - record.at > OLD:
        what = f"it last tested itself {ago} ago, though each tick should wake it"
        return wrong(check, what, f"Look at the lines of tick and model-wakeups, and read {logs}")
    if record.untested:
        what = f"not all could be tested: {'; '.join(record.untested)[:300]}"
        return left_out(check, what, f"If an API is disabled, enable it; else read {logs}")
    return right(check, f"{who} may do all it needs, tested {ago} ago")


def _problem_of_service(service: Answer) -> str | None:
    if isinstance(service, NoAnswer):
        return "it is not deployed" if service.kind == "absent" else None
    images = [each.get("image", "") for each in service.get("template", {}).get("containers", ())]
    if any(image.startswith(names.SHELL_IMAGE) for image in images):
        return "it is an empty shell, which takes messages and loses them"
    condition = service.get("terminalCondition", {})
    if condition.get("state") == "CONDITION_FAILED":
        return f"Cloud Run: {condition.get('message', 'it failed')}"
    return None


def _problem_of_callers(function: Function, callers: Answer, project: str) -> str | None:
    if isinstance(callers, NoAnswer) or function.is_public:
        return None
    members = {
        member
        for binding in callers.get("bindings", ())
        if binding.get("role") == "roles/run.invoker"
        for member in binding.get("members", ())
    }
    if anybody := members & {"allUsers", "allAuthenticatedUsers"}:
        return f"anybody may call it: remove {min(anybody)} from roles/run.invoker"
    invoker = names.account(names.INVOKER, project)
    if f"serviceAccount:{invoker}" not in members:
        return f"{invoker}, as which Pub/Sub pushes, may not call it"
    return None


def _revision_of(service: Answer) -> str:
    """The revision that serves, as far as it could be read."""
    if isinstance(service, NoAnswer):
        return ""
    return str(service.get("latestReadyRevision", "")).rpartition("/")[2]


def last_logged(answer: Answer) -> FunctionRecord | NoAnswer | None:
    """The record that a function without documents has logged."""
    if isinstance(answer, NoAnswer):
        return answer
    entries = answer.get("entries", ())
    return function_from_document(entries[0].get("jsonPayload", {})) if entries else None


def of_versions(versions: Mapping[str, str], own: str) -> Finding:
    """`versions`: by service; `own`: that of the command line."""
    check = "versions"
    by_version: dict[str, list[str]] = {}
    for service, version in sorted(versions.items()):
        by_version.setdefault(version or "unknown", []).append(service)
    if not by_version:
        return left_out(check, "no function has recorded its version")
    if len(by_version) > 1:
        parts = [f"{version} in {some(each)}" for version, each in sorted(by_version.items())]
        todo = "Deploy all functions (deploy/functions.sh), or wait until that has ended"
        return wrong(check, f"functions differ: {'; '.join(parts)}", todo)
    (deployed,) = by_version
    if deployed == own:
        return right(check, f"all functions run {own}, as this slipway")
    if number_of(deployed) == number_of(own):
        what = f"all functions run {deployed}, this slipway is {own}: the same version"
        return right(check, f"{what} with other sources")
    is_older = number_of(deployed) < number_of(own)
    todo = "Deploy the functions" if is_older else "Install the slipway of that version"
    order = "older" if is_older else "newer"
    return wrong(check, f"all functions run {deployed}, {order} than this slipway, {own}", todo)
