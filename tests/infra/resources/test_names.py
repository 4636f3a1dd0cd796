"""Whose a resource is: by its whole name and its whole description, both."""

from __future__ import annotations

from infra.fleet import naming


def test_a_model_owns_nothing_of_one_whose_name_begins_with_its_own() -> None:
    template = naming.template("llama-3-0123456789")
    body = {"name": template.name, "description": naming.description("llama-3", "template")}
    assert naming.is_of("llama-3", template)
    assert naming.is_owned(body, "llama-3")
    assert not naming.is_of("llama", template)
    assert not naming.is_owned(body, "llama")


def test_a_description_that_only_speaks_of_a_model_makes_nothing_its_own() -> None:
    assert naming.owner({"description": "for slipway model=tiny group"}) is None
    assert naming.owner({"description": "slipway model=tiny"}) is None
    assert naming.owner({}) is None
