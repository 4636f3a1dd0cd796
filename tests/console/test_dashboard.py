"""The dashboard's pages as a browser gets them, and what they refuse."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from html import unescape
from types import MappingProxyType
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from console.connect import Connection
from console.dashboard.app import LOOPBACK, App
from console.dashboard.chart import spans_of
from console.dashboard.pages import commands, models_page
from console.dashboard.render import MAX_BYTES
from console.dashboard.service import Checked
from console.dashboard.snapshot import Reading, Snapshot, Times
from console.dashboard.sources import Sources
from console.follow import entries, last_entries, place_after
from console.views import OverviewView
from handlers.forecast import forecast
from infra.store.port import Put, StoreError
from infra.wiring import World
from rollout.policy.policy import Policy
from rollout.spec.message import ReleaseRequested, parse
from tests.console.terminal import Terminal
from tests.scenario import PROJECT, Scenario

HOSTILE = (
    "</title><script>alert(1)</script><img src=x onerror=alert(2)>'\" {{ 7 * 7 }} \u202e\x1b[0m"
)
NEVER_FRESH = Times(fresh=0, patience=30, stale=600)
FREEZE = {"reason": "new year", "from": "2025-12-31T00:00", "to": "2026-01-02T00:00"}


@dataclass(frozen=True)
class Answer:
    status: str
    headers: dict[str, str]
    body: str

    @property
    def words(self) -> str:
        """The text between the tags, as far as these pages need it."""
        parts = (each.partition(">")[2] for each in self.body.split("<"))
        return unescape(" ".join(" ".join(parts).split()))


def app_of(scenario: Scenario, **fields: Any) -> App:
    connection = Connection(scenario.world, PROJECT, f"project {PROJECT}", **fields)
    return App(Sources(connection, NEVER_FRESH), LOOPBACK)


def get(
    app: App | Checked,
    path: str,
    query: str = "",
    method: str = "GET",
    host: str = "",
    more: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """One request, checked against PEP 3333. `more`: of its environment."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": host or "127.0.0.1:8420",
        **more,
    }
    setup_testing_defaults(environ)
    found: list[tuple[str, dict[str, str]]] = []

    def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
        found.append((status, dict(headers)))

    answer = validator(app)(environ, start)
    body = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    ((status, headers),) = found
    if method == "GET":
        assert int(headers["Content-Length"]) == len(body)
    return Answer(status, headers, body.decode())


@pytest.fixture(scope="module")
def story() -> Scenario:
    """Release 1 served, 2 serves, 3 was rolled back, 4 takes over. One message was refused."""
    scenario = Scenario()
    quick = [{"weight": 5, "hold_seconds": 0}, {"weight": 100, "hold_seconds": 0}]
    rollout = {"strategy": "canary", "steps": quick, "bake_seconds": 0, "keep_old_seconds": 0}
    scenario.given_serving("1", rollout=rollout)
    scenario.given_serving("2", requested_by="ann@example.com")
    scenario.given_behaviour("3", never_ready=True)
    scenario.when_released("3", rollout={"progress_deadline_seconds": 180})
    scenario.when_settled()
    steps = [{"weight": 5, "hold_seconds": 600}, {"weight": 50}, {"weight": 100}]
    scenario.when_released("4", rollout={"steps": steps})
    scenario.when_phase_reached("step_1")
    scenario.when_seconds_pass(240)
    scenario.when_published({"model": "tiny", "version": "5", "scaling": {"min": "lots", "m": 1}})
    scenario.given_policy(max_instances=5, freezes=[FREEZE])
    return scenario


@pytest.fixture(scope="module")
def app(story: Scenario) -> App:
    return app_of(story)


# ---- What the pages show


def test_the_first_page_lists_the_models(app: App) -> None:
    page = get(app, "/")
    assert page.status == "200 OK"
    assert "tiny under way 2 4 step 1 3 of 3 instances of release 4 are healthy" in page.words
    assert "0 attention 1 under way 0 settled" in page.words


def test_a_model_has_all_that_explains_it(app: App) -> None:
    page = get(app, "/models/tiny")
    assert page.status == "200 OK"
    for text in (
        "serves release 2",
        "candidate release 4",
        "requests 5 % to release 4",
        "healthy 3 of 3 of release 4",
        "last failed release 3",
        "5 % of the requests present",
        "50 % of the requests next",
        "stop where it is slipway pause tiny --project demo",
        "slipway rollback tiny --version 1 --project demo",
        "0 of 3 instances of release 3 are healthy",
        "ann@example.com",
        "published → quarantined",
    ):
        assert text in page.words, text


def test_only_commands_that_do_something_are_offered() -> None:
    scenario = Scenario()
    for version in ("1", "2"):
        scenario.given_serving(version, rollout={"bake_seconds": 0, "steps": [100]})
    first, last = {"percent": 50, "hold_seconds": 0}, {"percent": 100}
    scenario.when_released("3", rollout={"steps": [first, {"approve": {"by": "board"}}, last]})
    scenario.when_phase_reached("step_2")
    app = app_of(scenario)
    words = get(app, "/models/tiny").words
    assert "slipway approve tiny --version 3 --topic board" in words
    assert "slipway promote" not in words
    scenario.when_commanded("abort")
    scenario.when_phase_reached("rolling_back")
    words = get(app_of(scenario), "/models/tiny").words
    assert not any(f"slipway {verb} tiny" in words for verb in ("abort", "pause", "promote"))
    scenario.when_settled()
    assert "slipway rollback tiny --version 1" in get(app_of(scenario), "/models/tiny").words
    assert Terminal(scenario).run("rollback", "tiny", "--version", "1").status == 0


def test_the_picture_has_what_was_counted_when_each_phase_ended(app: App) -> None:
    words = get(app, "/models/tiny").words
    assert "3 of release 1, 3 of release 2 95 % to release 1, 5 % to release 2" in words
    assert "3 of release 2, 3 of release 3 100 % to release 2" in words  # it was never healthy
    assert "release 4 3 healthy of 3 needed, 5 % of the requests" in words
    assert "3 instances for release 3: step 1 from 2026-01-01 00:09" in words
    assert "5 % of requests for release 4: step 1 from 2026-01-01 00:13" in words


def test_the_picture_has_what_a_phase_asked_for_if_nothing_was_counted(story: Scenario) -> None:
    older = [replace(each, counts=()) for each in entries(story.store, "tiny")]
    state = story.state()
    stable, candidate = state.rollout.stable, state.rollout.candidate
    assert stable
    assert candidate
    specs = {"2": stable, "3": replace(candidate, version="3"), "4": candidate}
    spans = spans_of(older, specs, None, story.world.clock.now())
    assert {"2": 95.0, "3": 5.0} in [each.requests for each in spans]
    assert not any(each.is_counted for each in spans)


def test_the_log_goes_on_with_older_entries(story: Scenario) -> None:
    app = app_of(story)
    older = get(app, "/models/tiny", "before=00000010-0").words
    assert "Log, older entries" in older
    assert "nothing serves yet; step 1 of 1 asks for 100 % on release 1" in older
    assert "release 3 was published" not in older


def test_all_releases_have_a_page(app: App) -> None:
    words = get(app, "/models/tiny/releases").words
    assert words.index("4 step 1") < words.index("3 rolled back") < words.index("2 succeeded")


def test_releases_and_refused_messages_are_read_in_parts() -> None:
    scenario = Scenario()
    scenario.given_serving("1")
    (record,) = scenario.store.list("models/tiny/releases", 2)
    at = scenario.clock.now()
    for n in range(2, 120):
        name = {"version": f"1.{n}+x_y", "generation": n}
        scenario.store.commit(Put(f"models/tiny/releases/1.{n}+x_y", record.data | name))
        refused = {"at": at + timedelta(seconds=n // 3), "why": f"problem {n}", "raw": "x" * 999}
        scenario.store.commit(Put(f"quarantine/message_{n:03}", refused))
    app = app_of(scenario)
    for path, first in (("/models/tiny/releases", "1.119+x_y"), ("/quarantine", "message_119")):
        found: list[str] = []
        query = ""
        while True:
            body = get(app, path, query).body
            found += re.findall(r'<tr><th scope="row">(?:<a href="[^"]*">)?([^<]*)', body)
            if 'rel="next"' not in body:
                break
            query = unescape(body.partition('rel="next" href="?')[2].partition('"')[0])
        assert (found[0], len(found), len(set(found))) == (first, *[119 - ("qua" in path)] * 2)
        assert "Newest" in body


@pytest.mark.parametrize(
    "before", ["x", "1", "1.", ".x", "1.a/b", "-1.x", "9" * 16 + ".x", "1.__a__"]
)
def test_any_place_in_a_list_is_answered(app: App, before: str) -> None:
    query = f"before={before}"
    assert get(app, "/models/tiny/releases", query).status == "200 OK"
    assert get(app, "/quarantine", query).status == "200 OK"


def test_refused_messages_have_pages(app: App, story: Scenario) -> None:
    (record,) = story.quarantine()
    listed = get(app, "/quarantine")
    assert "(and 1 more)" in listed.words
    assert "subscriptions pull model-releases-dead-kept --limit=10 --project demo" in listed.words
    address = listed.body.partition('href="/quarantine/')[2].partition('"')[0]
    page = get(app, f"/quarantine/{address}")
    assert all(problem in page.words for problem in record["problems"])
    assert '"version": "5"' in page.words


def test_the_policy_has_its_limits_and_windows(app: App) -> None:
    words = get(app, "/policy").words
    assert "max_instances 5" in words
    assert "frozen until 2026-01-02 00:00 UTC: new year" in words
    assert "new year 2025-12-31 00:00 2026-01-02 00:00 UTC rollouts frozen" in words


def test_every_field_of_the_policy_is_on_its_page_and_the_open_windows_are_first() -> None:
    scenario = Scenario()
    later = FREEZE | {"from": "2027-01-01T00:00", "to": "2027-01-02T00:00", "reason": "x" * 400}
    scenario.given_policy(freezes=[*[later] * 300, FREEZE])
    page = get(app_of(scenario), "/policy")
    names = {each.name for each in fields(Policy)} - {
        "freezes",
        "stop",
        "prices",
        "is_signed",
        "project",
    }
    assert [name for name in names if f"<code>{name}</code>" not in page.body] == []
    assert page.words.index("new year") < page.words.index("xxx")
    assert re.search(r"And \d+ more in settings/policy", page.words)
    assert len(page.body.encode()) <= MAX_BYTES


def test_a_policy_that_cannot_be_read_says_why() -> None:
    scenario = Scenario()
    scenario.settings.commit(Put("settings/policy", {"max_instance": 5}))
    words = get(app_of(scenario), "/policy").words
    assert "every release is refused: settings/policy has unknown fields max_instance" in words


def test_a_local_stack_is_found_without_a_project() -> None:
    assert commands("")("status", "tiny") == "slipway status tiny"
    assert commands("a b")("why", "tiny") == "slipway why tiny --project 'a b'"


def test_what_another_slipway_wrote_is_said(story: Scenario) -> None:
    scenario = Scenario()
    scenario.store.commit(Put("models/old", {"model": "old", "schema": 2}))
    app = app_of(scenario)
    assert "old attention ? ? ? models/old: the document has schema 2" in get(app, "/").words
    page = get(app, "/models/old")
    assert page.status.startswith("503")
    assert "schema 2" in page.words


def test_a_damaged_model_is_said() -> None:
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0})
    document = scenario.store.get("models/tiny")
    assert document
    scenario.store.commit(Put("models/tiny", document.data | {"waiting_for": 7}))
    app = app_of(scenario)
    why = "models/tiny: the document is damaged: TypeError('waiting_for must be a text, got 7')"
    assert f"tiny attention ? ? ? {why}" in get(app, "/").words
    page = get(app, "/models/tiny")
    assert (page.status, why in page.words) == ("503 Service Unavailable", True)


def test_a_release_that_has_not_begun_has_its_plan() -> None:
    scenario = Scenario()
    steps, machine = [{"percent": 34}, {"percent": 100}], {"type": "e2-standard-8"}
    scenario.given_serving("1", scaling={"min": 3, "max": 6}, rollout={"bake_seconds": 0})
    scenario.given_policy(freezes=[FREEZE])
    scenario.when_released("2", machine=machine, rollout={"steps": steps})
    scenario.when_seconds_pass(60)
    words = get(app_of(scenario), "/models/tiny").words
    assert "next release 2, not begun" in words
    assert (
        "Plan of release 2 frozen from 2025-12-31 00:00 to 2026-01-02 00:00 UTC: new year" in words
    )
    sections = {"machine": machine, "rollout": {"steps": steps}}
    request = parse({"model": "tiny", "version": "3", **sections})
    assert isinstance(request, ReleaseRequested)
    planned = forecast(scenario.world, request).steps
    assert planned[0].lowest == 3
    for each in planned:
        sizes = (each.stable, each.candidate, each.surge, each.peak.instances, each.lowest)
        assert f"{each.number} {each.goal} {' '.join(map(str, sizes))}" in words
    assert "machine.type" in words
    assert "Not included, since this page does not read Compute Engine" in words


def test_a_model_without_a_rollout_has_no_picture() -> None:
    scenario = Scenario()
    scenario.when_released("1")
    document = scenario.store.get("models/tiny")
    assert document
    scenario.store.commit(Put("models/new", document.data))
    page = get(app_of(scenario), "/models/new")
    assert page.status == "200 OK"
    assert "Instances and requests over time" not in page.words


# ---- Many models


def row(number: int, urgency: Any = "settled") -> OverviewView:
    return OverviewView(f"model-{number:04}", "1", "", "settled", "", urgency)


def test_what_needs_attention_comes_first_and_the_list_has_parts() -> None:
    rows = [row(n) for n in range(118)] + [row(900, "under way"), row(901, "attention")]
    first, last = models_page(rows, "", 1), models_page(rows, "", 99)
    assert [each.model for each in first.rows[:3]] == ["model-0901", "model-0900", "model-0000"]
    assert (len(first.rows), first.slice.count) == (50, 3)
    assert (len(last.rows), last.slice.number) == (20, 3)
    assert first.counts == {"attention": 1, "under way": 1, "settled": 118}


@pytest.mark.parametrize(
    ("query", "found"),
    [("MODEL-0001", 1), ("attention", 1), ("nothing", 0), ("  ", 3)],
)
def test_models_are_searched_for(query: str, found: int) -> None:
    rows = [row(1), row(2), row(3, "attention")]
    assert len(models_page(rows, query, 1).rows) == found


class Source:
    """A value that is read when the test says so."""

    def __init__(self) -> None:
        self.reads, self.begun, self.go_on = 0, threading.Event(), threading.Event()
        self.problem = ""

    def __call__(self) -> int:
        self.reads += 1
        self.begun.set()
        assert self.go_on.wait(10)
        if self.problem:
            raise StoreError(self.problem)
        return self.reads


def test_a_snapshot_serves_what_it_has_while_it_is_read_anew() -> None:
    seconds, source = [0.0], Source()
    snapshot = Snapshot(source, lambda: seconds[0], Times(fresh=5, patience=0.01, stale=600))
    source.go_on.set()
    assert [snapshot.get().value, snapshot.get().value] == [1, 1]
    source.go_on.clear()
    seconds[0] = 100
    assert [snapshot.get().value, snapshot.get().value] == [1, 1]
    assert source.reads == 2, "one thread reads for all"
    source.go_on.set()
    assert snapshot.begin().result(10) == Reading(2, 100)
    assert (snapshot.get().value, source.reads) == (2, 2)


def test_a_snapshot_says_why_it_is_old_and_ends_when_it_is_too_old() -> None:
    seconds, source = [0.0], Source()
    snapshot = Snapshot(source, lambda: seconds[0], Times(fresh=5, patience=10, stale=600))
    source.go_on.set()
    source.problem = "down"
    with pytest.raises(StoreError, match="down"):
        snapshot.get()
    source.problem = ""
    assert snapshot.get().value == 2
    source.problem, seconds[0] = "down", 599
    assert snapshot.get() == Reading(2, 0, "down")
    seconds[0] = 600
    with pytest.raises(StoreError, match="down"):
        snapshot.get()


def test_many_models_are_read_less_often(story: Scenario) -> None:
    """Each costs: ten thousand of them are not read every five seconds."""
    seconds = [0.0]
    snapshot = Snapshot(
        lambda: seconds[0], lambda: seconds[0], Times(5, 10, 600), cost=lambda _: 100.0
    )
    found = []
    for seconds[0] in (0.0, 99.0, 100.0):
        found.append(snapshot.get().value)
    assert found == [0.0, 0.0, 100.0]


def test_each_entry_is_on_one_part_of_the_log(story: Scenario) -> None:
    """Also those of one revision: refused messages do not change it."""
    log = [each.id for each in entries(story.store, "tiny")]
    found: list[str] = []
    before = place_after(int(log[-1][:8]))
    while part := last_entries(story.store, "tiny", before, 3):
        found[:0] = [each.id for each in part]
        before = part[0].id
    assert found == log


# ---- What others wrote


@pytest.fixture(scope="module")
def hostile() -> App:
    """A model whose reasons, log and refused messages are written by an enemy."""
    scenario = Scenario()
    scenario.given_serving("1", rollout={"bake_seconds": 0}, requested_by=HOSTILE[:60])
    document = scenario.store.get("models/tiny")
    assert document
    at = scenario.clock.now()
    about = {"model": "tiny", "release": HOSTILE, "from": HOSTILE, "to": HOSTILE, "at": at}
    entry = about | {"why": HOSTILE * 30, "evidence": [HOSTILE * 30] * 10}
    refused = {"why": HOSTILE, "problems": [HOSTILE * 9] * 99, "at": at, "model": HOSTILE * 9}
    for write in (
        Put("models/tiny", document.data | {"waiting_for": HOSTILE, "outputs": {"x": HOSTILE}}),
        *(Put(f"models/tiny/log/{5:08d}-{n:02d}", entry) for n in range(80)),
        *(Put(f"quarantine/{n}", refused) for n in range(60)),
        *(Put(f"models/m{n}", {"model": HOSTILE, "schema": HOSTILE * 9}) for n in range(60)),
    ):
        scenario.store.commit(write)
    return app_of(scenario)


@pytest.mark.parametrize(
    "path", ["/", "/models/tiny", "/models/m1", "/quarantine", "/quarantine/7"]
)
def test_what_others_wrote_is_text_and_fits(hostile: App, path: str) -> None:
    page = get(hostile, path)
    assert "Internal" not in page.status
    assert page.body.count("<script>") == 1, "the page's own"
    assert "<img" not in page.body
    assert "onerror=alert(2)>" not in page.body
    assert "{{ 7 * 7 }}" in page.body
    assert "\u202e" not in page.body
    assert "\x1b" not in page.body
    assert len(page.body.encode()) <= MAX_BYTES


def test_a_search_is_text_too(app: App) -> None:
    page = get(app, "/", "q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.body.count("<script>") == 1
    assert 'value="&#34;&gt;&lt;script&gt;' in page.body


# ---- What is refused


@pytest.mark.parametrize(
    ("path", "query"),
    [("/", ""), ("/models/tiny", ""), ("/models/none", ""), ("/policy", ""), ("/quarantine", "")],
)
def test_every_page_may_load_and_run_nothing_else(app: App, path: str, query: str) -> None:
    page = get(app, path, query)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-store"
    assert 'src="' not in page.body
    assert 'style="' not in page.body
    assert len(page.body.encode()) <= MAX_BYTES


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_is_answered(app: App, method: str) -> None:
    page = get(app, "/models/tiny", method=method)
    assert (page.status, page.headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")


def test_head_has_the_headers_and_no_body(app: App) -> None:
    page = get(app, "/models/tiny", method="HEAD")
    assert (page.status, page.body) == ("200 OK", "")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::2]:80", "a:b:c"])
def test_other_names_of_this_address_are_not_answered(app: App, host: str) -> None:
    page = get(app, "/models/tiny", host=host)
    assert page.status == "421 Misdirected Request"
    assert "tiny" not in page.body


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8420", "LOCALHOST"])
def test_the_names_of_this_machine_are_answered(app: App, host: str) -> None:
    assert get(app, "/", host=host).status == "200 OK"


@pytest.mark.parametrize(
    "path",
    ["/models/none", "/models/../settings", "/models/Tiny", "/quarantine/a%2fb", "/x", "//evil"],
)
def test_what_does_not_exist_is_not_found(app: App, path: str) -> None:
    assert get(app, path).status == "404 Not Found"


@pytest.mark.parametrize("query", ["page=-1", "page=9999999999", "page=x", "before=0&page=2", "%"])
def test_any_query_is_answered(app: App, query: str) -> None:
    assert get(app, "/", query).status == "200 OK"
    assert get(app, "/models/tiny", query).status == "200 OK"


def test_the_service_needs_only_the_functions_packages() -> None:
    code = (
        "import sys; sys.modules |= {'rich': None, 'typer': None}\n"
        "environment = {'GOOGLE_CLOUD_PROJECT': 'demo', 'SLIPWAY_STORE': 'sqlite::memory:'}\n"
        "environment['SLIPWAY_DASHBOARD_PROXY'] = 'other'\n"
        "from console.dashboard.service import make_app\n"
        "from wsgiref.util import setup_testing_defaults\n"
        "environ = {'HTTP_HOST': 'dashboard.example'}; setup_testing_defaults(environ)\n"
        "body = make_app(environment)(environ, lambda status, headers: print(status))\n"
        "assert b'There are no models yet' in body[0]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("200 OK\n", 0), done.stderr


def test_a_store_that_refuses_is_reported(story: Scenario) -> None:
    def refuse() -> Any:
        raise StoreError("permission datastore.entities.get is missing")

    world = World(story.clock, refuse, refuse, refuse)
    page = get(App(Sources(Connection(world, PROJECT, f"project {PROJECT}")), None), "/")
    assert page.status == "503 Service Unavailable"
    assert "permission datastore.entities.get is missing" in page.words
    assert "roles/datastore.viewer" in page.words
