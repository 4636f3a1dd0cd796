"""Whose a resource is: by its whole name and its whole description, both."""

from __future__ import annotations

from infra.resources import names


def test_a_model_owns_nothing_of_one_whose_name_begins_with_its_own() -> None:
    template = names.template("llama-3-0123456789")
    body = {"name": template.name, "description": names.description("llama-3", "template")}
    assert names.is_of("llama-3", template)
    assert names.is_owned(body, "llama-3")
    assert not names.is_of("llama", template)
    assert not names.is_owned(body, "llama")


def test_a_description_that_only_speaks_of_a_model_makes_nothing_its_own() -> None:
    assert names.owner({"description": "for slipway model=tiny group"}) is None
    assert names.owner({"description": "slipway model=tiny"}) is None
    assert names.owner({}) is None
