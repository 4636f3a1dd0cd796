"""Names of resources, and which resources a model owns: by name and description, both."""

from __future__ import annotations

from infra.fleet import naming

LONGEST = "m" * 40


def test_every_name_has_the_prefix_and_at_most_59_characters() -> None:
    keys = [
        make(LONGEST, colour)
        for colour in naming.COLOURS
        for make in (naming.ready_check, naming.live_check, naming.backend_service)
    ]
    names = [key.name for key in keys]
    names += [naming.group_name(LONGEST, colour) for colour in naming.COLOURS]
    names.append(naming.template_name(LONGEST, "0123456789abcdef"))
    assert all(name.startswith("slipway-") for name in names)
    assert max(map(len, names)) == 59
    assert len(set(names)) == len(names) - len(naming.COLOURS), "a service has its group's name"


def test_a_model_does_not_own_a_resource_of_a_model_whose_name_begins_with_its_own() -> None:
    template = naming.template(naming.template_name("llama-3", "0123456789"))
    check = naming.live_check("llama-3", "blue")
    body = {"name": template.name, "description": naming.description("llama-3", "template")}
    for key in (template, check):
        assert naming.is_of("llama-3", key)
        assert not naming.is_of("llama", key)
    assert naming.is_owned(body, "llama-3")
    assert not naming.is_owned(body, "llama")


def test_a_name_without_the_prefix_is_not_a_models() -> None:
    assert not naming.is_of("tiny", naming.template("tiny-0123456789"))
    assert not naming.is_of("tiny", naming.GATEWAY)


def test_a_health_check_names_its_group() -> None:
    group = naming.group_name("tiny", "green")
    for check in (naming.ready_check("tiny", "green"), naming.live_check("tiny", "green")):
        assert naming.group_of_check(check) == group
    assert naming.colour_of("tiny", group) == "green"
    assert naming.colour_of("tin", group) is None


def test_a_description_that_only_mentions_a_model_does_not_name_an_owner() -> None:
    assert naming.owner({"description": "for slipway model=tiny group"}) is None
    assert naming.owner({"description": "slipway model=tiny"}) is None
    assert naming.owner({}) is None
