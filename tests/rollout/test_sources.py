"""Which artifacts are releases of which model, and how `settings/sources` is read."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.sources.decide import NewRelease, releases_for, version_of
from rollout.sources.model import Artifact, Ignored
from rollout.sources.settings import Route, load_routes
from rollout.spec.message import parse
from rollout.spec.types import is_version

IMAGE = "us-docker.pkg.dev/shop/models/tiny"
SHA = "6ec128e26cd5" + "0" * 52
PUSHED = Artifact("artifact_registry", IMAGE, "1.4.0", "1.4.0", SHA, f"{IMAGE}:1.4.0@sha256:{SHA}")
ROUTE = {"source": "artifact_registry", "match": "us-docker.pkg.dev/shop/models/*", "model": "tiny"}
SECTIONS = {"machine": {"type": "g2-standard-8"}, "serving": {"port": 8080}}


def routes(**named: Any) -> tuple[Route, ...]:
    return load_routes({"routes": {name.replace("_", "-"): each for name, each in named.items()}})


def released(artifact: Artifact, **named: Any) -> list[NewRelease]:
    found = releases_for(artifact, routes(**named))
    assert all(isinstance(each, NewRelease) for each in found), found
    return [each for each in found if isinstance(each, NewRelease)]


def ignored(artifact: Artifact, **named: Any) -> str:
    (found,) = releases_for(artifact, routes(**named))
    assert isinstance(found, Ignored)
    assert found.about == str(artifact)
    return found.why


def test_a_pushed_image_is_a_release_of_the_routes_model() -> None:
    (release,) = released(PUSHED, tiny=ROUTE | {"spec": SECTIONS})
    assert release == NewRelease(
        "tiny",
        hashlib.sha256(f"artifact_registry {IMAGE}:1.4.0@{SHA}#tiny".encode()).hexdigest()[:32],
        {
            "model": "tiny",
            "version": "1.4.0",
            "requested_by": "",
            "reason": f"artifact_registry: {IMAGE}:1.4.0, by route tiny",
            "artifact": {"image": f"{IMAGE}:1.4.0@sha256:{SHA}"},
            **SECTIONS,
        },
    )
    parse(release.message)


def test_one_image_may_be_a_release_of_several_models_and_of_each_once() -> None:
    other = ROUTE | {
        "model": "tiny-eu",
        "match": IMAGE,
        "spec": {"placement": {"region": "europe-west4"}},
    }
    again = ROUTE | {"spec": {"serving": {"port": 9}}}
    found = released(PUSHED, a=ROUTE, b=other, c=again)
    assert [each.model for each in found] == ["tiny", "tiny-eu"]
    assert "serving" not in found[0].message


def test_a_route_covers_segment_by_segment() -> None:
    assert "no route of settings/sources matches" in ignored(
        replace(PUSHED, name=IMAGE + "/deeper"), tiny=ROUTE
    )
    assert "no route" in ignored(replace(PUSHED, source="cloud_build"), tiny=ROUTE)
    assert "no route" in ignored(PUSHED)


def test_refs_limit_tags_aliases_and_branches() -> None:
    limited = ROUTE | {"refs": ["v*", "stable"]}
    assert "1.4.0 is not in refs of tiny" in ignored(PUSHED, tiny=limited)
    assert released(replace(PUSHED, ref="v1.4.0", version="v1.4.0"), tiny=limited)
    assert "without tag or alias" in ignored(replace(PUSHED, ref="", version="1"), tiny=limited)


def test_a_tag_that_moves_needs_a_version_of_its_content() -> None:
    moving = replace(PUSHED, ref="latest", version="")
    assert "set settings/sources: routes.tiny.version to content" in ignored(moving, tiny=ROUTE)
    (release,) = released(moving, tiny=ROUTE | {"version": "content"})
    assert release.message["version"] == "latest-6ec128e26cd50000"
    no_content = Artifact("mlflow", "ranker", "champion", "7")
    by_content = {"source": "mlflow", "match": "ranker", "model": "ranker", "version": "content"}
    assert "set settings/sources: routes.r.version to name" in ignored(no_content, r=by_content)


def test_texts_of_a_route_name_the_artifact() -> None:
    alias = Artifact("mlflow", "ranker", "champion", "7")
    spec = {"artifact": {"image": f"{IMAGE}:{{version}}", "env": {"MODEL": "models:/{name}@{ref}"}}}
    (release,) = released(
        alias, r={"source": "mlflow", "match": "ranker", "model": "ranker", "spec": spec}
    )
    assert release.message["artifact"] == {
        "image": f"{IMAGE}:7",
        "env": {"MODEL": "models:/ranker@champion"},
    }


def test_a_vendors_text_is_no_placeholder_and_no_way_around_the_validation() -> None:
    odd = Artifact("mlflow", "ranker", "{content}", "7")
    route = {
        "source": "mlflow",
        "match": "ranker",
        "model": "ranker",
        "spec": {"artifact": {"env": {"ALIAS": "{ref}"}, "image": "host.example/{name}:1"}},
    }
    (release,) = released(odd, r=route)
    assert release.message["artifact"]["env"] == {"ALIAS": "{content}"}
    why = ignored(replace(odd, name="Ranker"), r=route | {"match": "R*"})
    assert "route r makes no valid release of it: artifact.image" in why


def test_an_artifact_wins_over_the_routes_own() -> None:
    spec = {"artifact": {"image": "host.example/old:1", "env": {"A": "1"}}}
    (release,) = released(PUSHED, tiny=ROUTE | {"spec": spec})
    assert release.message["artifact"] == {"image": PUSHED.image, "env": {"A": "1"}}


@given(st.text(max_size=80), st.text("0123456789abcdef", max_size=64), st.booleans())
def test_a_version_is_legal_and_two_names_never_give_one(
    name: str, content: str, is_of_content: bool
) -> None:
    route = Route("r", "mlflow", "*", "m", version="content" if is_of_content else "name")
    artifact = Artifact("mlflow", "m", name, name, content)
    version = version_of(artifact, route)
    assert not version or is_version(version)
    assert bool(version) == bool(content if is_of_content else name)
    other = version_of(replace(artifact, ref=name + "/", version=name + "/"), route)
    assert not version or version != other


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"route": {}}, "the document: has unknown fields route; it may have routes"),
        ({"routes": []}, "routes: must map names to routes"),
        ({"routes": {"A b": ROUTE}}, "routes: must be named by"),
        ({"routes": {"a": 7}}, "routes.a: must be a route"),
        ({"routes": {"a": ROUTE | {"tags": []}}}, "routes.a: has unknown fields tags"),
        ({"routes": {"a": ROUTE | {"source": "quay"}}}, "routes.a.source: must be one of"),
        ({"routes": {"a": ROUTE | {"source": ["mlflow"]}}}, "routes.a.source: must be one of"),
        ({"routes": {"a": ROUTE | {"match": "a[b]"}}}, "routes.a.match: must be a name"),
        (
            {"routes": {"a": ROUTE | {"source": "cloud_storage", "match": "bucket/*/*"}}},
            "routes.a.match: must end with the name of the one object that is written last",
        ),
        ({"routes": {"a": ROUTE | {"model": "Tiny"}}}, "routes.a.model: must be a model's name"),
        ({"routes": {"a": ROUTE | {"refs": "v*"}}}, "routes.a.refs: must be a list"),
        (
            {"routes": {"a": ROUTE | {"version": "tag"}}},
            "routes.a.version: must be name or content",
        ),
        ({"routes": {"a": ROUTE | {"spec": {"model": "b"}}}}, "routes.a.spec: must have sections"),
        (
            {"routes": {"a": ROUTE | {"spec": {"serving": {"prt": 1}}}}},
            "routes.a.spec.serving.prt",
        ),
    ],
)
def test_a_document_with_a_problem_routes_nothing(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="settings/sources: ") as refused:
        load_routes(document)
    assert f"settings/sources: {problem}" in str(refused.value)


def test_a_document_says_all_its_problems() -> None:
    with pytest.raises(ValueError, match=r"routes\.a\.model.*routes\.b\.match"):
        load_routes({"routes": {"a": ROUTE | {"model": ""}, "b": ROUTE | {"match": ""}}})


def test_without_a_document_there_is_no_route() -> None:
    assert load_routes(None) == load_routes({}) == ()
