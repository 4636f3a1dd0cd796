"""One path matcher of the shared URL map: a model's rules in it, in the form that it needs. Pure.

Called by `url_map.py`. A matcher that Slipway inserted and that has no rules of others takes the
form that its rules need: route rules while any of them matches a header, path rules otherwise. The
change of form is part of the update that needs it, and changes the way of no request. In any other
matcher a model's rules are changed where they are, or inserted as path rules.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from infra.fleet import naming
from infra.fleet.model import Body
from infra.fleet.resources.route import (
    Rule,
    as_path_rule,
    as_route_rules,
    models_of,
    owns,
    paths_of,
    services_of,
)

ANY_HOST = "*"
DESCRIPTION = f"{naming.GATEWAY_DESCRIPTION} routes"
_PREFIX = "slipway-"
_DEFAULTS = ("defaultService", "defaultRouteAction", "defaultUrlRedirect")


def name_for(host: str) -> str:
    """A legal name that is unique to the host: `slipway-api-example-com-1f2e3d`."""
    if host == ANY_HOST:
        return f"{_PREFIX}any"
    readable = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:40].strip("-")
    return f"{_PREFIX}{readable}-{hashlib.sha256(host.encode()).hexdigest()[:6]}"


def inserted(name: str, url_map: Body) -> Body:
    """A matcher as Slipway inserts it. What matches no rule goes where it went before."""
    defaults = {field: url_map[field] for field in _DEFAULTS if url_map.get(field)}
    return {"name": name, "description": DESCRIPTION} | defaults


def is_as_inserted(matcher: Body, url_map: Body) -> bool:
    """Whether nothing was added to a matcher since, so that it may go with its last rule."""
    default = naming.canonical(str(matcher.get("defaultService")))
    if default == naming.reference(naming.GATEWAY_DEFAULT):  # whatever the map's default is by now
        url_map = {"defaultService": matcher["defaultService"]}
    return matcher == inserted(matcher["name"], url_map)


def rules_of(matcher: Body) -> Iterator[Body]:
    yield from matcher.get("pathRules", ())
    yield from matcher.get("routeRules", ())


def is_inserted(matcher: Body, hosts: AbstractSet[str]) -> bool:
    """Whether Slipway inserted the matcher, and it serves no other host."""
    return naming.is_gateway(matcher) and all(name_for(host) == matcher["name"] for host in hosts)


def is_ours(matcher: Body, hosts: AbstractSet[str], edited: Sequence[Body] = ()) -> bool:
    """Whether Slipway inserted the matcher, and all its rules are models', or were: `edited`."""
    return is_inserted(matcher, hosts) and all(
        models_of(rule) or rule in edited for rule in rules_of(matcher)
    )


def edited_rules(
    matcher: Body, hosts: AbstractSet[str], model: str, rules: Sequence[Rule]
) -> list[Body]:
    """The model's rules that somebody has pointed at a service of others, in a matcher that Slipway
    inserted. In any other matcher its owner decides.
    """
    if not is_inserted(matcher, hosts):
        return []
    own = [rule for rule in rules_of(matcher) if owns(model, rule)]
    left = [each for each in rules if not any(each.is_at(rule) for rule in own)]
    return [rule for rule in rules_of(matcher) if any(each.is_edited_to(rule) for each in left)]


def with_rules(matcher: Body, hosts: AbstractSet[str], model: str, rules: Sequence[Rule]) -> Body:
    """The matcher with these rules of the model instead of those that it has. `obstacle` has found
    that they can be there.
    """
    edited = edited_rules(matcher, hosts, model, rules)
    ours = is_ours(matcher, hosts, edited)
    own = [rule for rule in rules_of(matcher) if owns(model, rule) or rule in edited]
    if not own and not rules:
        return matcher
    rest = {
        field: value for field, value in matcher.items() if field not in ("pathRules", "routeRules")
    }
    others = [rule for rule in rules_of(matcher) if rule not in own]
    has_headers = any(rule.header for rule in rules)
    if not matcher.get("routeRules") and not has_headers:
        return rest | _some("pathRules", [*others, *(rule.path_rule for rule in rules)])
    if not matcher.get("routeRules"):
        others, own = _prioritized(others), []
    elif ours and not has_headers:
        converted = [found for rule in others if (found := as_path_rule(rule))]
        if len(converted) == len(others):
            return rest | _some("pathRules", [*converted, *(rule.path_rule for rule in rules)])
    written = _placed(rules, own, others, is_ordered=ours)
    return rest | _some("routeRules", sorted([*others, *written], key=_priority))


def _some(field: str, rules: list[Body]) -> Body:
    return {field: rules} if rules else {}


def _priority(rule: Body) -> int:
    return int(rule.get("priority", 0))


def _prioritized(path_rules: Sequence[Body]) -> list[Body]:
    """Path rules as route rules, in the order in which the longest path wins."""
    next_of: dict[range, int] = {}
    found = []
    for rule in path_rules:
        for allowed, converted in as_route_rules(rule):
            priority = next_of.get(allowed, allowed.start)
            next_of[allowed] = priority + 1
            found.append({"priority": priority} | converted)
    return found


def _placed(
    rules: Sequence[Rule], own: Sequence[Body], others: Sequence[Body], *, is_ordered: bool
) -> Iterator[Body]:
    """A rule keeps its priority; a new one gets the first that is free for its path. `is_ordered`:
    a priority must be one for the path, and not just any.
    """
    left = list(own)
    taken = {_priority(rule) for rule in (*own, *others)}
    for rule in rules:
        present = next((each for each in left if rule.is_at(each)), None)
        if present and (not is_ordered or _priority(present) in rule.priorities):
            left.remove(present)
            priority = _priority(present)
        else:
            priority = next(each for each in rule.priorities if each not in taken)
            taken.add(priority)
        yield rule.route_rule(priority)


# ---- Obstacles


def obstacle(
    matcher: Body, hosts: AbstractSet[str], model: str, rules: Sequence[Rule], *, is_preview: bool
) -> str | None:
    """What in other owners' parts of the matcher conflicts with these rules of the model, for one
    of its hosts. It is reported and not overwritten. A rule that is there already conflicts with
    nothing, so weights change and cohorts end whatever others added.
    """
    edited = edited_rules(matcher, hosts, model, rules)
    own = [rule for rule in rules_of(matcher) if owns(model, rule) or rule in edited]
    new = [rule for rule in rules if not any(rule.is_at(each) for each in own)]
    if not new:
        return None
    host, name = new[0].host, matcher.get("name")
    others = [rule for rule in rules_of(matcher) if rule not in own]
    if sharing := hosts - {host}:
        names = ", ".join(sorted(sharing))
        return (
            f"path matcher {name} serves host {host} together with {names}; give {host} a separate"
            " host rule"
        )
    if is_preview and (others or not is_inserted(matcher, hosts)):
        return (
            f"path matcher {name} serves host {host} already; a preview needs a host that nothing"
            " else uses"
        )
    foreign = next((rule for rule in others if not models_of(rule)), None)
    if not is_ours(matcher, hosts, edited):
        if matcher.get("routeRules"):
            return (
                f"path matcher {name} of host {host} has route rules, which exclude path rules"
                f"{_named(foreign)}; remove them, or choose another host"
            )
        if any(rule.header for rule in new):
            return (
                f"requests for {new[0]} need a route rule, which excludes the path rules of path"
                f" matcher {name}{_named(foreign)}; move what is not Slipway's to another host, or"
                " choose another host"
            )
    return _taken(new, others)


def _named(rule: Body | None) -> str:
    if rule is None:
        return ""
    where = ", ".join(paths_of(rule)) or f"priority {_priority(rule)}"
    return f" (like {where} to {_owner(rule)})"


def _taken(new: Sequence[Rule], others: Sequence[Body]) -> str | None:
    paths = {path: rule for rule in new if rule.header is None for path in rule.paths}
    for other in others:
        for path in paths_of(other):
            if path in paths:
                return (
                    f"path {path} of host {paths[path].host} goes to {_owner(other)} already;"
                    " choose another path or remove that rule"
                )
    return None


def _owner(rule: Body) -> str:
    return naming.last(next(iter(services_of(rule)), None)) or "something else"
