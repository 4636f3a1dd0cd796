"""The Compute client against the emulator in process: the resources afterwards, and the errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
import requests
from requests.adapters import BaseAdapter

from compute_emulator import Emulator, RealClock
from infra import wiring
from infra.compute.client import EVERYWHERE, Compute
from infra.compute.endpoints import ENDPOINTS
from infra.compute.errors import AlreadyExists, Conflict, NotFound, Refused, Retry
from infra.fleet import naming
from infra.fleet.model import Action, Body, Collection, Key, ReadSet
from tests.infra import cloud as given
from tests.infra.cloud import (
    BODIES,
    CHECK,
    GROUP,
    REGION,
    SERVICE,
    TEMPLATE,
    URL_MAP,
    World,
    delete,
    insert,
    request_id,
)


def change(key: Key, verb: str, body: Body) -> Action:
    return Action(key, cast(Any, verb), body, "changed", based_on=str(body))


def existing(world: World, key: Key) -> Body:
    body = world.compute.get(key)
    assert body is not None
    return body


@pytest.fixture
def world() -> World:
    return given.world()


@pytest.fixture
def model(world: World) -> World:
    """A complete model with its gateway."""
    world.do(insert(CHECK))
    certificate = {"name": "first", "type": "MANAGED", "managed": {"domains": ["example.org"]}}
    for name in ("first", "second"):
        world.emulator.call("POST", "global/sslCertificates", certificate | {"name": name})
    world.make(*(key for key in BODIES if key != CHECK))
    return world


# ---- Reading


def test_a_missing_resource_is_none(world: World) -> None:
    assert world.compute.observe(ReadSet((CHECK, GROUP))).bodies == {CHECK: None, GROUP: None}


def test_a_body_is_read_as_the_api_returns_it(model: World) -> None:
    template = existing(model, TEMPLATE)
    assert isinstance(template["id"], str)  # 64-bit numbers are text in JSON
    group = existing(model, GROUP)
    assert group["currentActions"]["deleting"] == 0  # zeros are kept
    assert group["fingerprint"]


def test_fields_that_the_client_does_not_know_are_kept() -> None:
    """A foreign rule in a shared URL map may use fields that are newer than our client."""
    answers = Canned({"name": "m", "fingerprint": "f", "inventedLater": {"deep": [1]}})
    read = canned(answers).get(URL_MAP)
    assert read
    assert read["inventedLater"] == {"deep": [1]}
    canned(answers).send(change(URL_MAP, "update", read), request_id(insert(URL_MAP)))
    assert answers.sent == read


def test_one_observation_reads_bodies_instances_templates_and_health(model: World) -> None:
    model.clock.sleep(120)
    reads = ReadSet(
        (GROUP, SERVICE, CHECK),
        groups=(GROUP,),
        healths=(SERVICE,),
        leftovers_of="tiny",
    )
    seen = model.compute.observe(reads)
    found = {key for key, body in seen.bodies.items() if body}
    assert found == {GROUP, SERVICE, CHECK, TEMPLATE, naming.GATEWAY}
    assert [each["instanceStatus"] for each in seen.instances[GROUP]] == ["RUNNING"] * 3
    assert [each["healthState"] for each in seen.health[SERVICE][0]["healthStatus"]] == [
        "HEALTHY"
    ] * 3


def test_what_a_list_has_exists_whatever_its_own_read_says(model: World) -> None:
    model.emulator.faults.add(
        "error", "compute.instanceTemplates.get", status=404, reason="notFound", message="gone"
    )
    assert model.compute.observe(ReadSet((TEMPLATE,))).bodies == {TEMPLATE: None}
    seen = model.compute.observe(ReadSet((TEMPLATE,), leftovers_of="tiny"))
    assert seen.bodies[TEMPLATE]


def test_observing_missing_resources_finds_nothing(world: World) -> None:
    seen = world.compute.observe(
        ReadSet(
            (GROUP, SERVICE),
            groups=(GROUP,),
            healths=(SERVICE,),
            leftovers_of="tiny",
        )
    )
    assert (dict(seen.bodies), seen.instances, seen.health) == (
        {GROUP: None, SERVICE: None},
        {GROUP: ()},
        {},
    )


@pytest.mark.parametrize("workers", [1, 8])
def test_concurrent_reads_find_the_same(workers: int) -> None:
    world = given.world(workers=workers)
    world.make(CHECK, TEMPLATE, GROUP)
    keys = (GROUP, CHECK, SERVICE, TEMPLATE)
    seen = world.compute.observe(ReadSet(keys)).bodies
    assert [bool(body) for body in seen.values()] == [True, True, False, True]


def test_long_lists_are_read_completely(world: World) -> None:
    for number in range(501):
        name = f"check-{number:04}"
        body = {"name": name, "type": "TCP", "tcpHealthCheck": {"port": 1}}
        world.emulator.call("POST", "global/healthChecks", body)
    assert len(world.compute.list("healthChecks")) == 501
    assert [
        body["name"]
        for body in world.compute.list("healthChecks", filter='name eq "check-000[3-5]"')
    ] == [
        "check-0003",
        "check-0004",
        "check-0005",
    ]


def test_regional_collections_are_listed_in_one_region_or_everywhere(world: World) -> None:
    elsewhere = Key("regionInstanceGroupManagers", "europe-west4", "slipway-tiny-blue")
    world.make(TEMPLATE, GROUP)
    zones = {
        "distributionPolicy": {"zones": [{"zone": f"zones/europe-west4-{zone}"} for zone in "abc"]}
    }
    world.do(Action(elsewhere, "insert", {"name": elsewhere.name} | BODIES[GROUP] | zones, "made"))
    world.make(given.AUTOSCALER)
    assert len(world.compute.list("regionInstanceGroupManagers", REGION)) == 1
    assert {
        body["region"].rsplit("/")[-1]
        for body in world.compute.list("regionInstanceGroupManagers", EVERYWHERE)
    } == {
        REGION,
        "europe-west4",
    }
    assert [body["name"] for body in world.compute.list("regionAutoscalers", EVERYWHERE)] == [
        "slipway-tiny-blue"
    ]


def test_a_list_without_an_unreachable_region_is_an_error() -> None:
    part = {"warning": {"code": "UNREACHABLE", "message": "region is down"}}
    with pytest.raises(Retry, match="region is down"):
        canned(Canned({"items": {"regions/us-central1": part}})).list(
            "regionInstanceGroupManagers", EVERYWHERE
        )


@pytest.mark.parametrize(
    "answer",
    [
        {"items": {"regions/us-central1": {"warning": {"code": "UNREACHABLE"}}}},
        {"unreachables": ["projects/demo/regions/us-central1", "projects/demo/zones/a"]},
    ],
)
def test_a_region_that_is_not_listed_is_named_to_those_who_can_do_without(answer: Body) -> None:
    there = {"regions/europe-west4": {"instanceGroupManagers": [{"name": "there"}]}}
    compute = canned(Canned(answer | {"items": answer.get("items", {}) | there}))
    unreachable: set[str] = set()
    found = compute.iterate("regionInstanceGroupManagers", EVERYWHERE, unreachable=unreachable)
    assert [body["name"] for body in found] == ["there"]
    assert unreachable == {"us-central1"}


def test_a_partial_list_is_an_error() -> None:
    partial = {"items": [{"name": "a"}], "warning": {"code": "UNREACHABLE", "message": "half"}}
    with pytest.raises(Retry, match="healthChecks of global could not be listed: half"):
        canned(Canned(partial)).list("healthChecks")


def test_a_list_may_have_some_members_of_each_body(world: World) -> None:
    world.make(TEMPLATE)
    found = list(world.compute.iterate("instanceTemplates", members="kind,name"))
    assert found == [{"name": TEMPLATE.name, "kind": "compute#instanceTemplate"}]


# ---- Changing


def test_resources_of_every_collection_can_be_inserted_and_deleted(model: World) -> None:
    everything = ReadSet(tuple(BODIES))
    assert all(model.compute.observe(everything).bodies.values())
    for key in reversed(BODIES):
        model.do(delete(key))
        model.clock.sleep(120)
    assert not any(model.compute.observe(everything).bodies.values())


CHANGES: list[tuple[Key, str, Body, Body]] = [
    (CHECK, "patch", {"checkIntervalSec": 7}, {"checkIntervalSec": 7}),
    (
        CHECK,
        "update",
        {"name": CHECK.name, "type": "TCP", "tcpHealthCheck": {"port": 1}},
        {"type": "TCP"},
    ),
    (
        GROUP,
        "patch",
        {"updatePolicy": {"maxSurge": {"fixed": 3}, "maxUnavailable": {"fixed": 0}}},
        {},
    ),
    (
        given.PORTS,
        "setNamedPorts",
        {"namedPorts": [{"name": "http", "port": 8080}]},
        {"namedPorts": [{"name": "http", "port": 8080}]},
    ),
    (given.AUTOSCALER, "patch", {"autoscalingPolicy": {"mode": "ONLY_SCALE_OUT"}}, {}),
    (
        given.AUTOSCALER,
        "update",
        {"name": "slipway-tiny-blue", **BODIES[given.AUTOSCALER], "description": "new"},
        {"description": "new"},
    ),
    (SERVICE, "patch", {"timeoutSec": 77}, {"timeoutSec": 77}),
    (
        SERVICE,
        "update",
        {"name": SERVICE.name, **BODIES[SERVICE], "timeoutSec": 78},
        {"timeoutSec": 78},
    ),
    (URL_MAP, "patch", {"description": "new"}, {"description": "new"}),
    (
        URL_MAP,
        "update",
        {"name": URL_MAP.name, **BODIES[URL_MAP], "description": "newer"},
        {"description": "newer"},
    ),
    (
        given.HTTPS_PROXY,
        "setSslCertificates",
        {"sslCertificates": ["global/sslCertificates/second"]},
        {
            "sslCertificates": [
                "https://www.googleapis.com/compute/v1/projects/demo/global/sslCertificates/second"
            ]
        },
    ),
    (
        given.RULE,
        "setTarget",
        {"target": "global/targetHttpProxies/slipway-gateway-http"},
        {
            "target": (
                "https://www.googleapis.com/compute/v1/projects/demo/global/targetHttpProxies/slipway-gateway-http"
            )
        },
    ),
]


@pytest.mark.parametrize(
    ("key", "verb", "body", "then"),
    CHANGES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_is_made(model: World, key: Key, verb: str, body: Body, then: Body) -> None:
    seen = existing(model, key)
    fingerprint = (
        {"fingerprint": seen["fingerprint"]}
        if "fingerprint" in seen and verb in ("patch", "update")
        else {}
    )
    model.do(change(key, verb, body | fingerprint))
    after = existing(model, key)
    assert {field: after[field] for field in then} == then


def test_every_verb_of_the_table_is_tested() -> None:
    tried = {(key.collection, verb) for key, verb, *_ in CHANGES} | {
        (key.collection, verb) for key in BODIES for verb in ("insert", "delete")
    }
    patched: set[Collection] = {"targetHttpProxies", "targetHttpsProxies", "globalForwardingRules"}
    assert {
        (collection, verb) for collection, endpoint in ENDPOINTS.items() for verb in endpoint.verbs
    } - tried == {(each, "patch") for each in patched}


def test_a_patch_can_clear_a_field_and_empty_a_list(model: World) -> None:
    """The client's own messages can express neither."""
    existing(model, SERVICE)
    model.do(
        change(
            SERVICE,
            "patch",
            {"backends": [], "fingerprint": existing(model, SERVICE)["fingerprint"]},
        )
    )
    assert existing(model, SERVICE).get("backends", []) == []
    model.do(
        change(
            GROUP,
            "patch",
            {
                "autoHealingPolicies": [
                    {
                        "healthCheck": "global/healthChecks/slipway-tiny-blue-lb",
                        "initialDelaySec": 9,
                    }
                ]
            },
        )
    )
    model.do(change(GROUP, "patch", {"autoHealingPolicies": None}))
    assert not existing(model, GROUP).get("autoHealingPolicies")


def test_only_references_are_expanded_to_full_urls() -> None:
    answers = Canned({"name": "operation-1", "status": "DONE"})
    canned(answers).send(insert(TEMPLATE), request_id(insert(TEMPLATE)))
    properties = answers.sent["properties"]
    assert (
        properties["networkInterfaces"][0]["network"]
        == "https://www.googleapis.com/compute/v1/projects/demo/global/networks/default"
    )
    assert properties["metadata"]["items"][0]["value"] == "global/networks/default"
    assert properties["disks"][0]["initializeParams"]["diskSizeGb"] == "20"


def test_partial_references_of_every_scope_are_expanded() -> None:
    answers = Canned({"name": "operation-1", "status": "DONE"})
    body = BODIES[GROUP] | {
        "versions": [
            {"instanceTemplate": "https://x/compute/v1/projects/o/global/instanceTemplates/t"}
        ]
    }
    canned(answers).send(change(GROUP, "insert", body), request_id(insert(GROUP)))
    assert answers.sent["distributionPolicy"]["zones"][0]["zone"].endswith(
        "/compute/v1/projects/demo/zones/us-central1-a"
    )
    assert answers.sent["versions"] == body["versions"]


@pytest.mark.parametrize("wrong", [{"requestPaht": "/"}, {"port": "eighty"}, {"port": [80]}])
def test_an_invalid_body_is_refused_with_the_fields_name(world: World, wrong: Body) -> None:
    with pytest.raises(Refused, match=next(iter(wrong))) as refused:
        world.do(insert(CHECK, httpHealthCheck=wrong))
    assert refused.value.problem.reason == "config"


def test_an_unsupported_verb_is_a_value_error(world: World) -> None:
    with pytest.raises(ValueError, match="regionInstanceGroupManagers does not support update"):
        world.compute.send(change(GROUP, "update", {}), request_id(insert(GROUP)))


def test_the_same_request_id_is_the_same_change(world: World) -> None:
    first = world.compute.send(insert(CHECK), request_id(insert(CHECK)))
    assert world.compute.send(insert(CHECK), request_id(insert(CHECK)))["name"] == first["name"]


def test_api_errors_are_classified(model: World) -> None:
    with pytest.raises(AlreadyExists):
        model.do(insert(CHECK, description="another"))
    with pytest.raises(NotFound):
        model.do(delete(Key("healthChecks", "global", "missing")))
    with pytest.raises(Conflict):
        model.do(change(URL_MAP, "patch", {"description": "x", "fingerprint": "c3RhbGU="}))


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error"])
def test_a_change_without_an_answer_is_retried(world: World, kind: str) -> None:
    world.emulator.faults.add(kind, "compute.healthChecks.insert", times=1)
    with pytest.raises(Retry):
        world.do(insert(CHECK))
    world.do(insert(CHECK))  # the same request again
    assert existing(world, CHECK)


@pytest.mark.parametrize("key", [CHECK, GROUP, TEMPLATE])
@pytest.mark.parametrize("kind", ["drop_before", "error"])
def test_a_failed_read_does_not_mean_that_the_resource_is_missing(
    model: World, kind: str, key: Key
) -> None:
    model.emulator.faults.add(kind, "compute.*.get", times=1)
    with pytest.raises(Retry):
        model.compute.get(key)
    model.emulator.faults.add(kind, "compute.*.get", times=1)
    with pytest.raises(Retry):
        model.compute.observe(ReadSet((key,)))
    assert existing(model, key)


@pytest.mark.parametrize(
    "garbled",
    [b"", b"<html>", b"[]", b"null", b'{"kind": "compute#healthCheck", "id": "1"}', b'{"name": 5'],
)
def test_a_garbled_answer_to_a_change_is_retried(garbled: bytes) -> None:
    with pytest.raises(Retry):
        canned(Canned(garbled)).send(insert(CHECK), request_id(insert(CHECK)))


def test_a_timeout_is_retried(world: World) -> None:
    world.emulator.faults.add("latency", "compute.healthChecks.get", seconds=300)
    with pytest.raises(Retry):
        world.compute.get(CHECK)


# ---- Waiting


def test_waiting_for_an_operation_uses_the_clock() -> None:
    world = given.world(operation_seconds=30)
    began = world.clock.now()
    assert world.do(insert(CHECK))["status"] == "DONE"
    assert timedelta(seconds=30) <= world.clock.now() - began <= timedelta(seconds=33)


@pytest.mark.parametrize("key", [CHECK, GROUP])
def test_waiting_ends_at_the_deadline(key: Key) -> None:
    world = given.world()
    world.make(TEMPLATE)
    world.emulator.operation_seconds = 300
    until = world.soon(20)
    assert (
        world.compute.wait(world.compute.send(insert(key), request_id(insert(key))), until) is None
    )
    assert world.clock.now() == until


def test_waiting_continues_after_a_lost_answer() -> None:
    world = given.world(operation_seconds=10)
    world.emulator.faults.add("drop_after", "compute.globalOperations.wait", times=2)
    assert world.do(insert(CHECK))["status"] == "DONE"


def test_waiting_for_an_unknown_operation_is_retried(world: World) -> None:
    with pytest.raises(Retry, match="no longer exists"):
        world.compute.wait({"name": "operation-missing", "status": "RUNNING"}, world.soon())


# ---- Over HTTP


@pytest.fixture
def endpoint() -> Iterator[str]:
    with Emulator("demo", RealClock(), operation_seconds=0.05).serve() as server:
        yield server.url


def test_the_client_works_over_http_with_many_workers_and_no_credentials(endpoint: str) -> None:
    clock = wiring.RealClock()
    compute = Compute("demo", clock, endpoint)
    until = clock.now() + timedelta(seconds=30)
    keys = [Key("healthChecks", "global", f"check-{number}") for number in range(12)]
    operations = [
        compute.send(
            Action(key, "insert", {"name": key.name} | BODIES[CHECK], ""), request_id(delete(key))
        )
        for key in keys
    ]
    assert all(compute.wait(operation, until) for operation in operations)
    seen = compute.observe(ReadSet(tuple(keys))).bodies
    assert [body["name"] for body in seen.values() if body] == [key.name for key in keys]


# ---- Canned answers, which the emulator would not give


class Canned(BaseAdapter):
    """Gives the same answer to every request, and records what was sent."""

    def __init__(self, answer: Body | bytes) -> None:
        super().__init__()
        self.sent: Body = {}
        self._answer = answer

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent = json.loads(request.body) if request.body else {}
        response = requests.Response()
        response.status_code = 200
        response._content = (
            self._answer if isinstance(self._answer, bytes) else json.dumps(self._answer).encode()
        )
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is held open."""


def canned(answers: Canned) -> Compute:
    return Compute("demo", given.world().clock, adapter=answers, workers=1)
