"""Models that ask for routes without passes of their own, to test the writer of the URL map."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from greenlet import greenlet

from handlers.reconcile.route_writer import write_route
from infra.fleet.model import Action, Pending, Result
from infra.fleet.pending_routes import PendingRoute
from infra.fleet.resources import gateway, url_map
from infra.store import routes
from infra.store.documents import to_document
from infra.store.port import Put
from infra.wiring import World
from rollout.model import Desired, TrafficTarget, TrafficWeight
from rollout.state import Lease, ModelState
from tests.concurrent import ConcurrentScenario
from tests.infra.build import release
from tests.scenario import Scenario

REVISION = 7
BUDGET = timedelta(seconds=45)


def given_models(story: Scenario, *models: str, seconds: float = 30) -> Scenario:
    """A gateway, and for each model two backend services and a document. The documents are leased,
    so that wake-ups of models find them so: these tests call the writer alone.
    """
    story.emulator.operation_seconds = 0
    for desired in gateway.desired(None)[1:3]:
        story.given_resource(f"global/{desired.key.collection}", desired.body)
    for model in models:
        for colour in ("blue", "green"):
            service = {"name": f"slipway-{model}-{colour}", "protocol": "HTTP"}
            story.given_resource(
                "global/backendServices", service | {"loadBalancingScheme": "EXTERNAL_MANAGED"}
            )
        given_revision(story, model, REVISION)
    story.emulator.operation_seconds_by_method["compute.urlMaps.update"] = seconds
    return story


def given_revision(story: Scenario, model: str, revision: int) -> None:
    lease = Lease("the test", story.clock.now() + timedelta(days=1))
    state = ModelState(Desired(model), lease=lease, revision=revision)
    story.store.commit(Put(f"models/{model}", to_document(state)))


def given_pending(story: Scenario, *pending: PendingRoute) -> None:
    for each in pending:
        story.store.commit(Put(routes.path(each.model), routes.to_document(each)))


def route(story: Scenario, model: str, weight: int = 50, **traffic: Any) -> PendingRoute:
    weights = (TrafficWeight("blue", 1000 - weight), TrafficWeight("green", weight))
    target = TrafficTarget(release(model=model, traffic=traffic), weights)
    return PendingRoute(model, target, REVISION, weight == 0, story.clock.now())


def planned(story: Scenario, pending: PendingRoute) -> Action:
    (action,) = url_map.update(story.url_map(), pending.model, pending.route)
    assert isinstance(action, Action)
    return action


def ask(
    story: Scenario, pending: PendingRoute, world: World | None = None, action: Action | None = None
) -> Result:
    """What a pass does whose plan has this route."""
    until = story.clock.now() + BUDGET
    action = action or planned(story, pending)
    return write_route(world or story.world, pending, action, uuid4(), until)


def in_map(story: Scenario, pending: PendingRoute) -> bool:
    return url_map.drift(pending.route, pending.model, story.url_map()) is None


def canaries_and_a_rollback(
    story: ConcurrentScenario, count: int, seconds: float
) -> dict[str, float]:
    """As many canaries change their weights at once, a write of the map takes `seconds`, and `bad`
    is rolled back 5 s later. Returns how long each took until the map had its route.
    """
    models = tuple(f"m{number:02}" for number in range(count))
    given_models(story, *models, "bad", seconds=seconds)
    began: dict[str, PendingRoute] = {}
    times: dict[str, float] = {}

    def run(pending: PendingRoute) -> None:
        """Passes until one observes the route."""
        began[pending.model] = pending
        while not in_map(story, pending):
            result = ask(story, pending)
            if isinstance(result, Pending):
                story.clock.sleep(result.retry_after_seconds or 0)

    def watch() -> None:
        for model, pending in began.items():
            if model not in times and in_map(story, pending):
                times[model] = (story.clock.now() - pending.requested_at).total_seconds()

    for model in models:
        greenlet(run).switch(route(story, model))
    story.clock.sleep(5)
    greenlet(run).switch(route(story, "bad", 0))
    for _ in range(int(4 * seconds)):
        story.when_seconds_pass(1)
        watch()
    return times
