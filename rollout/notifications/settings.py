"""The destinations of notifications, and how the document `settings/notifications` is read. Pure.

Read by `handlers/status.py`. Invariants: a destination that is wrong never silences another one,
each problem names its field, and no problem repeats a value that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from rollout.deferred import dataclass
from rollout.notifications.model import StatusEvent
from rollout.visible import is_visible

DOCUMENT = "settings/notifications"
MAX_DESTINATIONS = 10
DestinationType = Literal["slack", "slack_bot", "webhook"]

EVENTS = (
    "desired",
    "step",
    "baking",
    "succeeded",
    "rolling_back",
    "rolled_back",
    "aborted",
    "superseded",
    "refused",
    "retiring",
    "retired",
    "paused",
    "promoted",
    "approved",
    "verdict",
    "alerted",
    "stalled",
    "repaired",
    "degraded",
    "frozen",
    "capacity_scarce",
    "unobserved",
    "unchanged",
    "settled",
    "quarantined",
)
DEFAULT_EVENTS = (
    "succeeded",
    "rolled_back",
    "aborted",
    "refused",
    "retired",
    "paused",
    "stalled",
    "quarantined",
)
"""How a release ended, and what needs a person."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_SECRET = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_SECRET_VALUE = re.compile(r"whsec_|xox[a-z]-")
_PATTERN = re.compile(r"[a-z0-9*?-]{1,80}")
_CHANNEL = re.compile(r"[A-Z0-9]{6,20}|#[^\s#@<>]{1,80}")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "slack": ("type", "secret", "events", "models"),
    "slack_bot": ("type", "secret", "channel", "events", "models"),
    "webhook": ("type", "secret", "url", "events", "models"),
}


@dataclass(frozen=True)
class Destination:
    """Where notifications go. `secret` is the name of a secret of the function: the URL of a Slack
    webhook, the token of a Slack bot, or the key by which a webhook is signed.
    """

    name: str
    type: DestinationType
    secret: str
    url: str = ""
    channel: str = ""
    events: tuple[str, ...] = DEFAULT_EVENTS
    models: tuple[str, ...] = ("*",)

    def takes(self, event: StatusEvent) -> bool:
        is_event = event.name in self.events
        return is_event and any(fnmatchcase(event.model, each) for each in self.models)


@dataclass(frozen=True)
class Notifications:
    """The valid destinations, and what is wrong with the document. `link` is the URL of a model's
    page, with `{model}` and `{release}` in it.
    """

    destinations: tuple[Destination, ...] = ()
    link: str = ""
    problems: tuple[str, ...] = ()


def load_notifications(document: Mapping[str, Any] | None) -> Notifications:
    """The settings in a document; without one, nothing is sent."""
    given = document or {}
    problems = _unknown("", given, ("destinations", "link"))
    link = given.get("link", "")
    if not isinstance(link, str) or (link and not _is_https(link)):
        problems.append(_problem("link", "must be a URL, https://host/path"))
        link = ""
    named = given.get("destinations", {})
    if not isinstance(named, Mapping):
        problems.append(_problem("destinations", "must map names to destinations"))
        named = {}
    if len(named) > MAX_DESTINATIONS:
        problems.append(_problem("destinations", f"must be at most {MAX_DESTINATIONS}"))
    valid: list[Destination] = []
    for name in sorted(named)[:MAX_DESTINATIONS]:
        found = _problems_of(name, named[name])
        problems += found
        if not found:
            valid.append(_destination(name, named[name]))
    return Notifications(tuple(valid), link, tuple(problems))


def _destination(name: str, given: Mapping[str, Any]) -> Destination:
    lists = {each: tuple(given[each]) for each in ("events", "models") if each in given}
    return Destination(**{**given, **lists, "name": name})


def _problems_of(name: str, given: Any) -> list[str]:
    path = f"destinations.{name}"
    if not _NAME.fullmatch(name):
        why = "must be named by at most 40 lower-case letters, digits and hyphens, a letter first"
        return [_problem("destinations", f"{why}, got {name[:40]!r}")]
    if not isinstance(given, Mapping):
        return [_problem(path, "must be a destination, with type and secret")]
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        known = ", ".join(get_args(DestinationType))
        return [_problem(f"{path}.type", f"must be one of {known}")]
    problems = _unknown(f"{path}.", given, _FIELDS[kind])
    problems += _secret_problems(f"{path}.secret", given.get("secret"))
    if kind == "webhook" and not _is_https(given.get("url")):
        problems.append(_problem(f"{path}.url", "must be https://host/path without user info"))
    if kind == "slack_bot" and not _matches(_CHANNEL, given.get("channel")):
        problems.append(_problem(f"{path}.channel", "must be a channel's id, or #name"))
    problems += _list_problems(f"{path}.events", given.get("events"), EVENTS)
    problems += _list_problems(f"{path}.models", given.get("models"))
    return problems


def _secret_problems(path: str, given: Any) -> list[str]:
    if _matches(_SECRET, given) and not _SECRET_VALUE.match(given):
        return []
    why = "must be the name of a secret, of letters, digits, - and _; never the secret itself"
    return [_problem(path, why)]


def _list_problems(path: str, given: Any, allowed: tuple[str, ...] = ()) -> list[str]:
    """Of a list of events, or without `allowed` of patterns of models. None: left out."""
    if given is None:
        return []
    kind = "events" if allowed else "patterns of models"
    if not isinstance(given, list | tuple) or not given:
        return [_problem(path, f"must be a list of {kind}, not empty")]
    if allowed:
        wrong = [each for each in given if each not in allowed]
        why = f"must be of {', '.join(allowed)}"
    else:
        wrong = [each for each in given if not _matches(_PATTERN, each)]
        why = "must be names of models, in which * and ? stand for other characters"
    return [_problem(path, f"{why}, got {str(each)[:40]!r}") for each in wrong]


def _unknown(prefix: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> list[str]:
    unknown = sorted(str(each)[:40] for each in set(given) - set(allowed))
    if not unknown:
        return []
    about = prefix.removesuffix(".") or "the document"
    why = f"has unknown fields {', '.join(unknown)}; it may have {', '.join(allowed)}"
    return [_problem(about, why)]


def _problem(path: str, why: str) -> str:
    return f"{DOCUMENT}: {path}: {why}"


def _matches(pattern: re.Pattern[str], given: Any) -> bool:
    return isinstance(given, str) and pattern.fullmatch(given) is not None


def _is_https(given: Any) -> bool:
    try:
        parts = urlsplit(given) if isinstance(given, str) else None
        port = parts.port if parts else None
    except ValueError:
        return False
    if parts is None or not is_visible(given) or re.search(r"\s", given) or len(given) > 2000:
        return False
    return (
        parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and port != 0
    )
