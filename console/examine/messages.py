"""Judges topics, subscriptions and what is left in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from console.examine import names
from console.examine.answer import Answer, NoAnswer, points_of
from console.examine.finding import Finding, left_out, right, some, unread, wrong
from console.examine.names import Flow
from console.examine.topics import Found, Subscription
from console.text import span

VIEWER = "roles/pubsub.viewer"
LONG = timedelta(minutes=10)
"""A message that fails is delivered again after ten minutes at most."""


def of_flow(flow: Flow, found: Found, project: str, url: str | None) -> Finding:
    """Whether a function gets a topic's messages. `url`: of its service; empty if that was not
    read, and None where no service has one.
    """
    check = f"topic {flow.topic}"
    bootstrap = f"Run deploy/bootstrap.sh --project={project}"
    if isinstance(found, NoAnswer):
        if found.kind == "absent":
            return wrong(check, "it does not exist", bootstrap)
        return unread(check, "it", found, VIEWER)
    pushing = [each for each in found if each.push_endpoint]
    if url is not None:
        pushing = [each for each in pushing if each.name == flow.subscription]
        if not any(each.name == flow.subscription for each in found):
            return wrong(check, f"subscription {flow.subscription} does not exist", bootstrap)
    if not pushing:
        what = "no subscription pushes to a function, so messages are only kept"
        todo = f"{flow.function.deploy(project)}; then: {bootstrap}"
        return wrong(check, what, todo)
    problems = {
        each.name: problem for each in pushing if (problem := _problem(flow, each, project, url))
    }
    if problems:
        what = "; ".join(f"{name} {problem}" for name, problem in problems.items())
        return wrong(check, what, bootstrap)
    return right(check, f"pushed by {some(each.name for each in pushing)}")


def _problem(flow: Flow, pushing: Subscription, project: str, url: str | None) -> str | None:
    if not pushing.is_active:
        return f"cannot deliver to {pushing.push_endpoint}"
    if url is None:
        return None
    invoker = names.account(names.INVOKER, project)
    expected = f"{url}/projects/{project}/topics/{flow.topic}"
    if url and pushing.push_endpoint != expected:
        return f"pushes to {pushing.push_endpoint}, not to {expected}"
    if not pushing.push_endpoint.endswith(f"/projects/{project}/topics/{flow.topic}"):
        return f"pushes to {pushing.push_endpoint}, which does not name the topic"
    if pushing.push_account != invoker:
        return f"signs as {pushing.push_account or 'nobody'}, not as {invoker}"
    if url and pushing.push_audience != url:
        return f"signs for {pushing.push_audience or 'its endpoint'}, not for {url}"
    if flow.dead and pushing.dead_letters != names.DEAD_LETTERS:
        return f"has no dead letters in {names.DEAD_LETTERS}"
    if pushing.ack_seconds <= names.LONGEST_SECONDS:
        return (
            f"delivers a message again after {pushing.ack_seconds} s, and a function may take"
            f" {names.LONGEST_SECONDS} s"
        )
    return None


def of_dead_letters(
    found: Found, undelivered: Answer | None, project: str, *, is_google: bool
) -> Finding:
    """The topic keeps nothing without a subscription."""
    check = f"topic {names.DEAD_LETTERS}"
    bootstrap = f"Run deploy/bootstrap.sh --project={project}"
    if isinstance(found, NoAnswer):
        if found.kind == "absent":
            return wrong(check, "it does not exist", bootstrap)
        return unread(check, "it", found, VIEWER)
    kept = [each.name for each in found]
    if is_google and names.DEAD_LETTERS_KEPT not in kept:
        what = f"subscription {names.DEAD_LETTERS_KEPT} does not exist, so nothing is kept"
        return wrong(check, what, bootstrap)
    count = _latest(undelivered).get(names.DEAD_LETTERS_KEPT)
    messages = "" if count is None else f"; messages in it: {count:.0f}"
    return right(check, f"subscriptions: {len(kept)}{messages}")


def of_checks(found: Found, project: str) -> Finding:
    """Whether each new revision of a function can be asked before it takes over."""
    check = f"topic {names.CHECKS}"
    bootstrap = f"Run deploy/bootstrap.sh --project={project}"
    if isinstance(found, NoAnswer):
        if found.kind == "absent":
            return wrong(check, "it does not exist, so no new revision takes over", bootstrap)
        return unread(check, "it", found, VIEWER)
    missing = names.CHECKED.keys() - {each.name for each in found if each.push_endpoint}
    if missing:
        return wrong(check, f"does not push by {some(sorted(missing))}", bootstrap)
    return right(check, f"asks the new revisions of {len(names.CHECKED)} functions")


def of_backlog(oldest: Answer) -> Finding:
    """Whether messages wait for functions, by Pub/Sub's own measurements."""
    check = "backlog"
    if isinstance(oldest, NoAnswer):
        return unread(check, "how old messages are", oldest, "roles/monitoring.viewer")
    ages = _latest(oldest)
    ours = {
        flow.subscription: ages[flow.subscription]
        for flow in names.FLOWS
        if flow.subscription in ages
    }
    if not ours:
        return left_out(check, "Cloud Monitoring has no measurements of the subscriptions yet")
    late = {name: age for name, age in ours.items() if age > LONG.total_seconds()}
    if late:
        what = some(f"{name} since {span(timedelta(seconds=age))}" for name, age in late.items())
        todo = "Read the logs of the functions that these push to"
        return wrong(check, f"messages are not acknowledged: {what}", todo)
    return right(check, f"the oldest message is {span(timedelta(seconds=max(ours.values())))} old")


def _latest(answer: Answer | None) -> Mapping[str, float]:
    """The newest value by subscription."""
    if answer is None or isinstance(answer, NoAnswer):
        return {}
    return {
        labels["subscription_id"]: values[0]
        for labels, values in points_of(answer)
        if values and "subscription_id" in labels
    }
