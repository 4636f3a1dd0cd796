"""The document `settings/sources`: which artifacts are releases of which model. Pure.

Read by `handlers/artifact.py`. (The collection `routes` is another thing: the paths of the URL
map.) Invariant: a document with any problem routes nothing, since a misspelled pattern must not
pass for none. It raises ValueError, and the message is delivered again once it is repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from rollout.deferred import dataclass
from rollout.sources.model import Artifact, SourceName
from rollout.spec.message import Invalid, parse
from rollout.spec.model import Sections
from rollout.spec.types import is_model_name

DOCUMENT = "settings/sources"
MAX_ROUTES = 200
VersionFrom = Literal["name", "content"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_MATCH = re.compile(r"[A-Za-z0-9*?._:/ @+=-]{1,500}")
_REF = re.compile(r"[A-Za-z0-9*?._/+-]{1,200}")
_FIELDS = ("source", "match", "refs", "model", "version", "spec")
_SAMPLE = {"name": "name", "ref": "1", "version": "1", "content": "0"}
"""What a placeholder is while a route is checked: it fits wherever a vendor's text may fit."""


@dataclass(frozen=True)
class Route:
    """From artifacts of a source to a model. `match` is compared with the artifact's name, segment
    by segment: `*` stands for no `/`. `refs` limits tags, aliases or branches; empty: any.
    `spec` has sections of a release, in whose texts `{name}`, `{ref}`, `{version}` and `{content}`
    stand for the artifact's.
    """

    name: str
    source: SourceName
    match: str
    model: str
    refs: tuple[str, ...] = ()
    version: VersionFrom = "name"
    spec: Mapping[str, Any] | None = None

    def covers(self, artifact: Artifact) -> bool:
        if self.source != artifact.source:
            return False
        pattern, name = self.match.split("/"), artifact.name.split("/")
        return len(pattern) == len(name) and all(map(fnmatchcase, name, pattern))

    def takes(self, ref: str) -> bool:
        return not self.refs or any(fnmatchcase(ref, each) for each in self.refs)


def load_routes(document: Mapping[str, Any] | None) -> tuple[Route, ...]:
    """The routes in a document, by name; without one, none. Raises ValueError with all problems."""
    given = document or {}
    problems = [*_unknown("the document", given, ("routes",))]
    named = given.get("routes", {})
    if not isinstance(named, Mapping):
        problems.append("routes: must map names to routes")
        named = {}
    if len(named) > MAX_ROUTES:
        problems.append(f"routes: must be at most {MAX_ROUTES}, got {len(named)}")
    for name in sorted(named):
        problems += _problems_of(name, named[name])
    if problems:
        raise ValueError("; ".join(f"{DOCUMENT}: {each}" for each in problems))
    return tuple(_route(name, named[name]) for name in sorted(named))


def fill(value: Any, texts: Mapping[str, str]) -> Any:
    """The value with each placeholder in its texts replaced, once: what replaces one is no
    placeholder.
    """
    match value:
        case str():
            return re.sub(r"\{(name|ref|version|content)\}", lambda it: texts[it[1]], value)
        case Mapping():
            return {name: fill(each, texts) for name, each in value.items()}
        case list() | tuple():
            return [fill(each, texts) for each in value]
    return value


def _route(name: str, given: Mapping[str, Any]) -> Route:
    return Route(**{**given, "name": name, "refs": tuple(given.get("refs", ()))})


def _problems_of(name: str, given: Any) -> Iterator[str]:
    path = f"routes.{name}"
    if not _NAME.fullmatch(name):
        yield (
            "routes: must be named by at most 40 lower-case letters, digits and hyphens, a letter"
            f" first, got {name[:40]!r}"
        )
        return
    if not isinstance(given, Mapping):
        yield f"{path}: must be a route, with source, match and model"
        return
    yield from _unknown(path, given, _FIELDS)
    source, match, model = given.get("source"), given.get("match"), given.get("model")
    if source not in get_args(SourceName):
        yield f"{path}.source: must be one of {', '.join(get_args(SourceName))}, got {source!r}"
    if not isinstance(match, str) or not _MATCH.fullmatch(match):
        yield f"{path}.match: must be a name, in which * and ? stand for characters but /"
    elif source == "cloud_storage" and set("*?") & set(match.rpartition("/")[2]):
        yield (
            f"{path}.match: must end with the name of the one object that is written last, such as"
            f" release.json, got {match!r}"
        )
    if not isinstance(model, str) or not is_model_name(model):
        yield f"{path}.model: must be a model's name, got {model!r}"
    refs = given.get("refs", [])
    if not isinstance(refs, list | tuple) or not all(
        isinstance(each, str) and _REF.fullmatch(each) for each in refs
    ):
        yield f"{path}.refs: must be a list of tags, aliases or branches, got {refs!r}"
    if given.get("version", "name") not in get_args(VersionFrom):
        yield f"{path}.version: must be name or content, got {given['version']!r}"
    yield from _spec_problems(f"{path}.spec", given.get("spec"))


def _spec_problems(path: str, spec: Any) -> Iterator[str]:
    if spec is None:
        return
    if not isinstance(spec, Mapping) or not set(spec) <= set(Sections.model_fields):
        yield f"{path}: must have sections of a release: {', '.join(Sections.model_fields)}"
        return
    try:
        parse({"model": "m", "version": "1", **fill(spec, _SAMPLE)})
    except Invalid as error:
        yield from (f"{path}.{each}" for each in error.problems)


def _unknown(path: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> Iterator[str]:
    unknown = sorted(str(each)[:40] for each in set(given) - set(allowed))
    if unknown:
        may = ", ".join(allowed)
        yield f"{path}: has unknown fields {', '.join(unknown)}; it may have {may}"
