"""Judges database, indexes, queue, tick and quotas of a project. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from console.examine import names
from console.examine.answer import Answer, Body, NoAnswer, points_of
from console.examine.finding import Finding, left_out, right, some, unread, wrong

READS = frozenset(
    f"compute.googleapis.com/{name}"
    for name in (
        *("read_requests", "read_requests_per_region", "list_requests", "list_requests_per_region"),
        *("global_reads", "reads_per_region"),
    )
)
"""Quotas of Compute Engine that reads count for, under their older and their newer names."""
MOST = 0.8
"""More than this part of a quota in a minute is too near."""


def of_databases(
    answers: Mapping[str, Answer], own: str, services: Iterable[Answer], project: str
) -> Finding:
    """`answers`: by name; `own`: of the documents that the command line reads; `services`: of the
    functions, which name theirs.
    """
    check = "firestore"
    others = {each for each in map(_database_of, services) if each not in ("", own)}
    if others:
        what = f"functions keep documents in {some(sorted(others))}, and this slipway reads {own}"
        return wrong(check, what, f"Set SLIPWAY_DATABASE={min(others)}, or deploy the functions")
    places = []
    for name, answer in answers.items():
        if isinstance(answer, NoAnswer):
            if answer.kind == "absent":
                what = f"database {name} does not exist"
                return wrong(check, what, f"Run deploy/bootstrap.sh --project={project}")
            return unread(check, f"database {name}", answer, "roles/datastore.viewer")
        if problem := _problem_of_database(name, answer, project):
            return wrong(check, *problem)
        places.append(f"{name} in {answer.get('locationId')}")
    return right(check, f"native and protected: {', '.join(places)}")


def _problem_of_database(name: str, database: Body, project: str) -> tuple[str, str] | None:
    """What is wrong, and what to do."""
    kind = database.get("type")
    if kind != "FIRESTORE_NATIVE":
        todo = "Create another one in native mode, and name it with --database (docs/deploy.md)"
        return f"database {name} is of type {kind}", todo
    update = f"gcloud firestore databases update --database='{name}' --project={project}"
    if database.get("deleteProtectionState") != "DELETE_PROTECTION_ENABLED":
        return f"database {name} is not protected against deletion", f"{update} --delete-protection"
    if database.get("pointInTimeRecoveryEnablement") != "POINT_IN_TIME_RECOVERY_ENABLED":
        return f"database {name} cannot be restored to a moment", f"{update} --enable-pitr"
    return None


def _database_of(service: Answer) -> str:
    """The database that a function names; empty if it names none."""
    if isinstance(service, NoAnswer):
        return ""
    variables = [
        variable
        for container in service.get("template", {}).get("containers", ())
        for variable in container.get("env", ())
    ]
    found = {each.get("name"): each.get("value", "") for each in variables}
    return str(found.get("SLIPWAY_DATABASE", ""))


def of_indexes(fields: Answer, expiring: Answer, project: str) -> Finding:
    check = "indexes"
    for answer in (fields, expiring):
        if isinstance(answer, NoAnswer):
            return unread(check, "settings of fields", answer, "roles/datastore.viewer")
    assert not isinstance(fields, NoAnswer)
    assert not isinstance(expiring, NoAnswer)
    exempt = {
        _field(each)
        for each in fields.get("fields", ())
        if not each.get("indexConfig", {}).get("indexes")
    }
    deleted = {
        _field(each)
        for each in expiring.get("fields", ())
        if each.get("ttlConfig", {}).get("state") in ("CREATING", "ACTIVE")
    }
    todo = f"Run deploy/bootstrap.sh --project={project}"
    if kept := names.EXPIRING - deleted:
        return wrong(check, f"these are never deleted: {_list(kept)}", todo)
    if slow := names.NOT_INDEXED - exempt:
        return wrong(check, f"indexed, though no query uses them: {_list(slow)}", todo)
    return right(check, "large fields are not indexed, and what expires is deleted")


def _field(field: Body) -> tuple[str, str]:
    parts = str(field.get("name", "")).split("/")
    return (parts[-3], parts[-1]) if len(parts) > 3 else ("", "")


def _list(fields: Iterable[tuple[str, str]]) -> str:
    return some(f"{collection}.{name}" for collection, name in sorted(fields))


def of_queue(answer: Answer, project: str, region: str) -> Finding:
    check = "queue"
    todo = f"Run deploy/bootstrap.sh --project={project} --region={region}"
    if isinstance(answer, NoAnswer):
        if answer.kind == "absent":
            what = f"{names.QUEUE} does not exist in {region}, so each wait lasts to the next tick"
            return wrong(check, what, todo)
        return unread(check, names.QUEUE, answer, "roles/cloudtasks.viewer")
    if answer.get("state") != "RUNNING":
        resume = f"gcloud tasks queues resume {names.QUEUE} --location={region} --project={project}"
        return wrong(check, f"{names.QUEUE} is {answer.get('state')}", resume)
    return right(check, f"{names.QUEUE} runs in {region}")


def of_scheduler(answer: Answer, project: str, region: str) -> Finding:
    check = "scheduler"
    place = f"--location={region} --project={project}"
    bootstrap = f"Run deploy/bootstrap.sh --project={project} --region={region}"
    if isinstance(answer, NoAnswer):
        if answer.kind == "absent":
            return wrong(check, f"{names.TICK} does not exist in {region}", bootstrap)
        return unread(check, names.TICK, answer, "roles/cloudscheduler.viewer")
    if answer.get("state") != "ENABLED":
        what = f"{names.TICK} is {answer.get('state')}: nothing is woken"
        return wrong(check, what, f"gcloud scheduler jobs resume {names.TICK} {place}")
    if answer.get("schedule") != "* * * * *":
        return wrong(check, f"{names.TICK} runs at {answer.get('schedule')}", bootstrap)
    if code := answer.get("status", {}).get("code"):
        what = f"the last tick was not published: code {code}"
        return wrong(check, what, f"gcloud scheduler jobs describe {names.TICK} {place}")
    return right(check, f"{names.TICK} runs each minute")


def of_quota(used: Answer, limits: Answer) -> Finding:
    """The quota of reads that is nearest to its limit."""
    check = "quota of reads"
    for answer in (used, limits):
        if isinstance(answer, NoAnswer):
            return unread(check, "what is used and left", answer, "roles/monitoring.viewer")
    assert not isinstance(used, NoAnswer)
    assert not isinstance(limits, NoAnswer)
    most = {_quota(labels): max(values) for labels, values in points_of(used) if values}
    limit = {_quota(labels): values[0] for labels, values in points_of(limits) if values}
    shares = sorted(
        (count / limit[quota], quota)
        for quota, count in most.items()
        if quota[0] in READS and limit.get(quota, 0) > 0
    )
    if not shares:
        which = "limit" if any(quota[0] in READS for quota in most) else "requests"
        what = f"it is not known: Cloud Monitoring has no {which} of the last half hour"
        return left_out(check, what)
    share, quota = shares[-1]
    name, place = quota
    what = (
        f"{name.partition('/')[2]} in {place}: at most {most[quota]:.0f} of {limit[quota]:.0f} a"
        f" minute in the last half hour, {max(0, limit[quota] - most[quota]):.0f} left"
    )
    if share > MOST:
        todo = "Ask for more in the console under IAM, Quotas, or put models into other projects"
        return wrong(check, what, todo)
    return right(check, what)


def _quota(labels: Any) -> tuple[str, str]:
    return labels.get("quota_metric", ""), labels.get("location", "")
