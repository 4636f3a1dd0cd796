"""Compute Engine's verbs against the stand-in in process: what is there afterwards, and what the
trouble is when it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
import requests
from requests.adapters import BaseAdapter

from compute_emulator import Cloud, InProcessAdapter, RealClock, serve
from compute_emulator.keys import Key as CloudKey
from infra.compute.client import EVERYWHERE, Compute
from infra.compute.endpoints import ENDPOINTS
from infra.compute.errors import AlreadyExists, Conflict, NotFound, Refused, Retry
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
    return Action(key, cast(Any, verb), body, "it is to be so", based_on=str(body))


def there(world: World, key: Key) -> Body:
    body = world.compute.get(key)
    assert body is not None
    return body


@pytest.fixture
def world() -> World:
    return given.world()


@pytest.fixture
def model(world: World) -> World:
    """A whole model with its gateway."""
    world.do(insert(CHECK))
    certificate = {"name": "first", "type": "MANAGED", "managed": {"domains": ["example.org"]}}
    for name in ("first", "second"):
        made = requests.Session()
        made.mount("https://", InProcessAdapter(world.cloud))
        path = "https://compute.googleapis.com/compute/v1/projects/demo/global/sslCertificates"
        assert made.post(path, json=certificate | {"name": name}).ok
    world.make(*(key for key in BODIES if key != CHECK))
    return world


# ---- Reading


def test_what_is_not_there_is_none(world: World) -> None:
    assert world.compute.observe(ReadSet((CHECK, GROUP))).bodies == {CHECK: None, GROUP: None}


def test_a_body_is_read_as_the_api_gives_it(model: World) -> None:
    template = there(model, TEMPLATE)
    assert isinstance(template["id"], str)  # 64-bit numbers travel as text
    group = there(model, GROUP)
    assert group["currentActions"]["deleting"] == 0  # zeros are kept
    assert group["fingerprint"]


def test_fields_that_the_client_does_not_know_are_read_and_written_back() -> None:
    """A foreign rule in a shared URL map may use what is newer than our client."""
    answers = Canned({"name": "m", "fingerprint": "f", "inventedLater": {"deep": [1]}})
    read = canned(answers).get(URL_MAP)
    assert read
    assert read["inventedLater"] == {"deep": [1]}
    canned(answers).send(change(URL_MAP, "update", read), request_id(insert(URL_MAP)))
    assert answers.sent == read


def test_one_observation_reads_bodies_instances_templates_and_health(model: World) -> None:
    model.clock.sleep(120)
    look = ReadSet(
        (GROUP, SERVICE, CHECK),
        groups=(GROUP,),
        healths=(SERVICE,),
        leftovers_of="tiny",
    )
    seen = model.compute.observe(look)
    assert {key for key, body in seen.bodies.items() if body} == {GROUP, SERVICE, CHECK, TEMPLATE}
    assert [each["instanceStatus"] for each in seen.instances[GROUP]] == ["RUNNING"] * 3
    assert [each["healthState"] for each in seen.health[SERVICE][0]["healthStatus"]] == [
        "HEALTHY"
    ] * 3


def test_a_look_at_nothing_that_exists_finds_nothing(world: World) -> None:
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
def test_reading_side_by_side_finds_the_same(workers: int) -> None:
    world = given.world(workers=workers)
    world.make(CHECK, TEMPLATE, GROUP)
    keys = (GROUP, CHECK, SERVICE, TEMPLATE)
    seen = world.compute.observe(ReadSet(keys)).bodies
    assert [bool(body) for body in seen.values()] == [True, True, False, True]


def test_long_lists_are_read_to_their_end(world: World) -> None:
    for number in range(501):
        name = f"check-{number:04}"
        world.cloud.new(
            "compute#healthCheck",
            CloudKey("global", "healthChecks", name),
            {"name": name, "type": "TCP"},
        )
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


def test_a_list_that_lacks_a_region_is_no_list() -> None:
    part = {"warning": {"code": "UNREACHABLE", "message": "region is down"}}
    with pytest.raises(Retry, match="region is down"):
        canned(Canned({"items": {"regions/us-central1": part}})).list(
            "regionInstanceGroupManagers", EVERYWHERE
        )


# ---- Changing


def test_every_collection_can_be_made_and_removed(model: World) -> None:
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
    seen = there(model, key)
    fingerprint = (
        {"fingerprint": seen["fingerprint"]}
        if "fingerprint" in seen and verb in ("patch", "update")
        else {}
    )
    model.do(change(key, verb, body | fingerprint))
    after = there(model, key)
    assert {field: after[field] for field in then} == then


def test_every_verb_of_the_table_is_tried_above() -> None:
    tried = {(key.collection, verb) for key, verb, *_ in CHANGES} | {
        (key.collection, verb) for key in BODIES for verb in ("insert", "delete")
    }
    patched: set[Collection] = {"targetHttpProxies", "targetHttpsProxies", "globalForwardingRules"}
    assert {
        (collection, verb) for collection, row in ENDPOINTS.items() for verb in row.verbs
    } - tried == {(each, "patch") for each in patched}


def test_a_patch_can_clear_a_member_and_empty_a_list(model: World) -> None:
    """The client's own messages can say neither."""
    there(model, SERVICE)
    model.do(
        change(
            SERVICE, "patch", {"backends": [], "fingerprint": there(model, SERVICE)["fingerprint"]}
        )
    )
    assert there(model, SERVICE).get("backends", []) == []
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
    assert not there(model, GROUP).get("autoHealingPolicies")


def test_references_go_out_in_full_and_nothing_else_is_touched() -> None:
    answers = Canned({"name": "operation-1", "status": "DONE"})
    canned(answers).send(insert(TEMPLATE), request_id(insert(TEMPLATE)))
    properties = answers.sent["properties"]
    assert (
        properties["networkInterfaces"][0]["network"]
        == "https://www.googleapis.com/compute/v1/projects/demo/global/networks/default"
    )
    assert properties["metadata"]["items"][0]["value"] == "global/networks/default"
    assert properties["disks"][0]["initializeParams"]["diskSizeGb"] == "20"


def test_a_partial_reference_of_any_scope_becomes_full() -> None:
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
def test_a_body_that_cannot_be_is_refused_by_the_fields_name(world: World, wrong: Body) -> None:
    with pytest.raises(Refused, match=next(iter(wrong))) as refused:
        world.do(insert(CHECK, httpHealthCheck=wrong))
    assert refused.value.problem.reason == "config"


def test_a_verb_that_a_collection_does_not_have_is_a_mistake(world: World) -> None:
    with pytest.raises(ValueError, match="regionInstanceGroupManagers does not support update"):
        world.compute.send(change(GROUP, "update", {}), request_id(insert(GROUP)))


def test_the_same_request_id_is_the_same_change(world: World) -> None:
    first = world.compute.send(insert(CHECK), request_id(insert(CHECK)))
    assert world.compute.send(insert(CHECK), request_id(insert(CHECK)))["name"] == first["name"]


def test_trouble_comes_in_our_words(model: World) -> None:
    with pytest.raises(AlreadyExists):
        model.do(insert(CHECK, description="another"))
    with pytest.raises(NotFound):
        model.do(delete(Key("healthChecks", "global", "nobody")))
    with pytest.raises(Conflict):
        model.do(change(URL_MAP, "patch", {"description": "x", "fingerprint": "c3RhbGU="}))


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error"])
def test_without_an_answer_nothing_is_known(world: World, kind: str) -> None:
    world.cloud.faults.add(kind, "compute.healthChecks.insert", times=1)
    with pytest.raises(Retry):
        world.do(insert(CHECK))
    world.do(insert(CHECK))  # the same request once more
    assert there(world, CHECK)


@pytest.mark.parametrize("key", [CHECK, GROUP, TEMPLATE])
@pytest.mark.parametrize("kind", ["drop_before", "error"])
def test_what_cannot_be_read_is_not_taken_for_absent(model: World, kind: str, key: Key) -> None:
    model.cloud.faults.add(kind, "compute.*.get", times=1)
    with pytest.raises(Retry):
        model.compute.get(key)
    model.cloud.faults.add(kind, "compute.*.get", times=1)
    with pytest.raises(Retry):
        model.compute.observe(ReadSet((key,)))
    assert there(model, key)


@pytest.mark.parametrize(
    "garbled",
    [b"", b"<html>", b"[]", b"null", b'{"kind": "compute#healthCheck", "id": "1"}', b'{"name": 5'],
)
def test_a_garbled_answer_to_a_change_is_no_answer(garbled: bytes) -> None:
    with pytest.raises(Retry):
        canned(Canned(garbled)).send(insert(CHECK), request_id(insert(CHECK)))


def test_an_answer_that_takes_too_long_is_no_answer(world: World) -> None:
    world.cloud.faults.add("latency", "compute.healthChecks.get", seconds=300)
    with pytest.raises(Retry):
        world.compute.get(CHECK)


# ---- Waiting


def test_an_operation_is_waited_for_by_the_clock() -> None:
    world = given.world(operation_seconds=30)
    began = world.clock.now()
    assert world.do(insert(CHECK))["status"] == "DONE"
    assert timedelta(seconds=30) <= world.clock.now() - began <= timedelta(seconds=33)


@pytest.mark.parametrize("key", [CHECK, GROUP])
def test_an_operation_that_does_not_end_in_time_is_left_alone(key: Key) -> None:
    world = given.world()
    world.make(TEMPLATE)
    world.cloud.operations.seconds = 300
    until = world.soon(20)
    assert (
        world.compute.wait(world.compute.send(insert(key), request_id(insert(key))), until) is None
    )
    assert world.clock.now() == until


def test_waiting_survives_a_lost_answer() -> None:
    world = given.world(operation_seconds=10)
    world.cloud.faults.add("drop_after", "compute.globalOperations.wait", times=2)
    assert world.do(insert(CHECK))["status"] == "DONE"


def test_an_operation_that_nobody_knows_any_more_says_nothing(world: World) -> None:
    with pytest.raises(Retry, match="no longer exists"):
        world.compute.wait({"name": "operation-gone", "status": "RUNNING"}, world.soon())


# ---- Over HTTP


@pytest.fixture
def endpoint() -> Iterator[str]:
    with serve(Cloud("demo", RealClock(), operation_seconds=0.05), port=0) as server:
        yield server.url


def test_the_same_works_over_http_with_many_workers_and_no_credentials(endpoint: str) -> None:
    clock = given.RealTime()
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


# ---- Answers by hand, where the stand-in is too well behaved


class Canned(BaseAdapter):
    """Gives one answer to everything, and keeps what was sent."""

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
