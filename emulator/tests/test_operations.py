"""Operations: their duration, their result, and request ids."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import Cloud, ScaledClock, VirtualClock, serve
from emulator.tests.clients import PROJECT, Clients, backend_service, health_check, template

DONE = compute_v1.Operation.Status.DONE
RUNNING = compute_v1.Operation.Status.RUNNING


def insert(clients: Clients, name: str = "ready", **members: str) -> Any:
    request = compute_v1.InsertHealthCheckRequest(
        project=PROJECT, health_check_resource=health_check(name), **members
    )
    return clients.of(compute_v1.HealthChecksClient).insert_unary(request=request)


def test_an_operation_runs_for_its_duration_and_is_then_done(clock: VirtualClock) -> None:
    clients = Clients(Cloud(clock=clock, operation_seconds=10))
    operations = clients.of(compute_v1.GlobalOperationsClient)
    name = insert(clients).name
    clock.advance(9)
    assert operations.get(project=PROJECT, operation=name).status == RUNNING
    assert operations.wait(project=PROJECT, operation=name).status == RUNNING
    clock.advance(1)
    finished = operations.get(project=PROJECT, operation=name)
    assert finished.status == DONE
    assert finished.end_time > finished.insert_time


def test_without_operation_seconds_the_response_is_already_done(clock: VirtualClock) -> None:
    assert insert(Clients(Cloud(clock=clock))).status == DONE


def test_a_glob_sets_the_duration_of_some_methods(clock: VirtualClock) -> None:
    cloud = Cloud(clock=clock, operation_seconds_by_method={"compute.health*": 5})
    assert insert(Clients(cloud)).status == RUNNING


def test_waiting_blocks_over_http_until_the_operation_is_done() -> None:
    with serve(Cloud(clock=ScaledClock(100), operation_seconds=60)) as server:
        clients = Clients(server.cloud, server.url)
        running = insert(clients)
        waited = clients.of(compute_v1.GlobalOperationsClient).wait(
            project=PROJECT, operation=running.name
        )
        assert waited.status == DONE


def test_waiting_ends_after_two_minutes_of_cloud_time() -> None:
    with serve(Cloud(clock=ScaledClock(1000), operation_seconds=1e9)) as server:
        clients = Clients(server.cloud, server.url)
        running = insert(clients)
        waited = clients.of(compute_v1.GlobalOperationsClient).wait(
            project=PROJECT, operation=running.name
        )
        assert waited.status == RUNNING


def test_other_requests_are_served_while_one_waits() -> None:
    with serve(Cloud(clock=ScaledClock(1), operation_seconds=2)) as server:
        clients = Clients(server.cloud, server.url)
        running = insert(clients)
        waiting = clients.of(compute_v1.GlobalOperationsClient)
        # One client waits in its own thread; this thread keeps sending requests.
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.append(waiting.wait(project=PROJECT, operation=running.name))
        )
        thread.start()
        assert (
            clients.of(compute_v1.HealthChecksClient)
            .get(project=PROJECT, health_check="ready")
            .name
            == "ready"
        )
        thread.join(timeout=30)
        assert len(answers) == 1


def test_a_repeated_request_id_returns_the_first_operation(clients: Clients) -> None:
    given = str(uuid.uuid4())
    first, again = insert(clients, request_id=given), insert(clients, request_id=given)
    assert first.name == again.name
    assert first.client_operation_id == given
    with pytest.raises(exceptions.Conflict):
        insert(clients, request_id=str(uuid.uuid4()))


def test_a_request_id_is_forgotten_after_an_hour(clients: Clients, clock: VirtualClock) -> None:
    given = str(uuid.uuid4())
    insert(clients, request_id=given)
    clock.advance(3601)
    with pytest.raises(exceptions.Conflict):
        insert(clients, request_id=given)


@pytest.mark.parametrize("given", ["not-a-uuid", "00000000-0000-0000-0000-000000000000"])
def test_a_request_id_must_be_a_uuid_and_not_zero(clients: Clients, given: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="requestId"):
        insert(clients, request_id=given)


def test_a_resource_being_created_cannot_be_used_yet(clock: VirtualClock) -> None:
    clients = Clients(Cloud(clock=clock, operation_seconds=10))
    insert(clients)
    services = clients.of(compute_v1.BackendServicesClient)
    with pytest.raises(exceptions.BadRequest, match="is not ready") as caught:
        services.insert_unary(project=PROJECT, backend_service_resource=backend_service())
    assert caught.value.errors[0]["reason"] == "resourceNotReady"
    clock.advance(10)
    services.insert_unary(project=PROJECT, backend_service_resource=backend_service())


def test_a_resource_being_deleted_exists_until_the_operation_ends(clock: VirtualClock) -> None:
    clients = Clients(Cloud(clock=clock, operation_seconds=10))
    insert(clients)
    clock.advance(10)
    checks = clients.of(compute_v1.HealthChecksClient)
    checks.delete_unary(project=PROJECT, health_check="ready")
    checks.get(project=PROJECT, health_check="ready")
    clock.advance(10)
    with pytest.raises(exceptions.NotFound):
        checks.get(project=PROJECT, health_check="ready")


def test_an_operation_that_was_made_to_fail_reports_it_and_changes_nothing(
    clients: Clients,
) -> None:
    clients.cloud.faults.add(
        "operation_error",
        "*.insert",
        status=503,
        code="ZONE_RESOURCE_POOL_EXHAUSTED",
        message="sold out",
    )
    failed = clients.done(insert(clients))
    assert (failed.http_error_status_code, failed.http_error_message) == (
        503,
        "SERVICE UNAVAILABLE",
    )
    assert [(each.code, each.message) for each in failed.error.errors] == [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "sold out")
    ]
    assert list(clients.of(compute_v1.HealthChecksClient).list(project=PROJECT)) == []


def test_an_operation_that_never_ends_has_its_effect_and_keeps_running(
    clients: Clients, clock: VirtualClock
) -> None:
    clients.cloud.faults.add("operation_never_ends", "*.insert")
    name = insert(clients).name
    clock.advance(86_400)
    assert (
        clients.of(compute_v1.GlobalOperationsClient).get(project=PROJECT, operation=name).status
        == RUNNING
    )
    assert (
        clients.of(compute_v1.HealthChecksClient).get(project=PROJECT, health_check="ready").name
        == "ready"
    )


def test_a_finished_operation_is_kept_for_days_and_then_deleted(
    clients: Clients, clock: VirtualClock
) -> None:
    name = insert(clients).name
    operations = clients.of(compute_v1.GlobalOperationsClient)
    clock.advance(13 * 86_400)
    operations.get(project=PROJECT, operation=name)
    clock.advance(2 * 86_400)
    insert(clients, "another")
    with pytest.raises(exceptions.NotFound):
        operations.get(project=PROJECT, operation=name)


def test_types_are_full_for_templates_and_plain_for_load_balancing(clients: Clients) -> None:
    made = clients.of(compute_v1.InstanceTemplatesClient).insert_unary(
        project=PROJECT, instance_template_resource=template()
    )
    assert made.operation_type == "compute.instanceTemplates.insert"
    assert insert(clients).operation_type == "insert"


def test_regional_operations_are_in_their_region(clients: Clients) -> None:
    made = clients.of(compute_v1.RegionHealthChecksClient).insert_unary(
        project=PROJECT, region="us-central1", health_check_resource=health_check()
    )
    assert made.region.endswith("/projects/demo/regions/us-central1")
    assert clients.done(made).status == DONE
    with pytest.raises(exceptions.NotFound):
        clients.of(compute_v1.GlobalOperationsClient).get(project=PROJECT, operation=made.name)
    found = clients.of(compute_v1.RegionOperationsClient).list(
        project=PROJECT, region="us-central1"
    )
    assert [each.name for each in found] == [made.name]
