"""The Pulumi program: turns each value of `resources.py` into a resource of `pulumi_gcp`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pulumi
from resources import (  # Pulumi runs this file from its own folder
    Resource,
    Settings,
    read_sources,
    stages,
)


def settings() -> Settings:
    """What `pulumi config set` chose; Settings has the defaults."""
    config = pulumi.Config()
    texts = (
        *("region", "database", "firestore_location", "network", "subnetwork_range"),
        *("notify", "docs"),
    )
    switches = ("create_network", "default_account", "alerts", "monitoring", "deletion_protection")
    chosen = {name: config.get(name) for name in texts}
    chosen |= {name: config.get_bool(name) for name in switches}
    return Settings(
        project=config.require("project"),
        number=config.require("number"),
        **{name: each for name, each in chosen.items() if each is not None},
    )


def register(resource: Resource, needs: list[pulumi.Resource]) -> pulumi.Resource:
    module, _, kind = resource.kind.partition(".")
    make = getattr(importlib.import_module(f"pulumi_gcp.{module}"), kind)
    options = pulumi.ResourceOptions(
        depends_on=needs,
        ignore_changes=list(resource.later),
        protect=resource.is_protected,
    )
    made: pulumi.Resource = make(resource.name, opts=options, **resource.properties)
    return made


def main() -> None:
    made: list[pulumi.Resource] = []
    for stage in stages(settings(), read_sources(Path(__file__).parents[2])):
        made = [register(each, made) for each in stage]


main()
