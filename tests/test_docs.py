"""The README and the pages of docs/ match the code: links resolve, example events are accepted, and
names, fields and log messages exist.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from bench import page as bench_page
from bench.gates import times
from handlers.webhook import read_webhook_secrets
from infra.signatures import is_signed
from infra.store.documents import to_document
from rollout import gates, model, strategies
from rollout.notifications import settings as notifications
from rollout.notifications.forms import webhook_body
from rollout.notifications.settings import load_notifications
from rollout.policy.policy import Policy, load_policy
from rollout.policy.signers import unsigned
from rollout.sources import model as model_of_sources
from rollout.sources import settings as sources
from rollout.spec.message import CommandGiven, ReleaseRequested, decode_json, parse, resolve
from rollout.spec.metrics import PROMETHEUS, MetricsSource, unmeasurable
from rollout.spec.model import Spec
from rollout.state import ModelState
from rollout.strategies import base, rolling
from tests.rollout.build import release
from tests.rollout.test_notifications import sent
from tests.scenario import Scenario
from tests.tools import require_program

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
NOTIFICATIONS = ROOT / "docs/notifications.md"
SOURCES = ROOT / "docs/sources.md"
OPERATIONS, STYLE = ROOT / "docs/operations.md", ROOT / "docs/style.md"
DEPLOYING = ROOT / "docs/deploy.md"
PAGES = [
    README,
    CONTRIBUTING,
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "emulator").rglob("README.md")),
    *sorted((ROOT / "tests").rglob("README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MESSAGE = re.compile(r"--message='(\{.*?\})'", re.DOTALL)
A_PATH = re.compile(
    r"(?:docs|deploy|handlers|infra|local|rollout|tests|schemas|bench|examples)/[\w./-]*\w|main\.py"
)
# Created by a reader who follows the page.
CREATED_BY_READER = {"infra/fleet/resources/firewall.py", "bench/results.json"}


def text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(text(page)) if kind == language]


def example(page: Path, name: str) -> str:
    """The block after `<!-- example: name -->`."""
    return FENCE.findall(text(page).split(f"<!-- example: {name} -->")[1])[0][1]  # type: ignore[no-any-return]


def messages(page: Path) -> list[str]:
    """The page's examples of messages for `model-releases`."""
    in_commands = [found for found in MESSAGE.findall(text(page)) if "$" not in found]
    bodies = [json.loads(block) for block in blocks(page, "json")]
    return in_commands + [
        json.dumps(body) for body in bodies if "model" in body and "from" not in body
    ]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub generates from the page's headings."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_resolve_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(text(page)):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), link
        assert not anchor or anchor in anchors(linked), link


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_named_files_exist(page: Path) -> None:
    for quoted in re.findall(r"`([^`\n]+)`", text(page)):
        if A_PATH.fullmatch(quoted.split(" ")[0]) and quoted not in CREATED_BY_READER:
            assert (ROOT / quoted.split(" ")[0]).exists(), quoted


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_make_commands_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text(page)), *blocks(page, "sh")])
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets


def test_the_readme_needs_two_commands() -> None:
    assert [line.split(" #")[0].strip() for line in blocks(README, "sh")[0].splitlines()] == [
        "make demo",
        "make test",
    ]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_example_events_are_accepted(page: Path) -> None:
    for message in messages(page):
        assert isinstance(parse(decode_json(message.encode())), ReleaseRequested | CommandGiven)


def test_the_readmes_releases_inherit_from_each_other() -> None:
    spec: Spec | None = None
    parsed = [parse(decode_json(message.encode())) for message in messages(README)]
    for each in parsed:
        if isinstance(each, ReleaseRequested):
            spec = resolve(each, spec)
    assert spec
    assert [step.goal for step in spec.rollout.steps or ()] == ["10 %", "50 %", "100 %"]
    assert (spec.scaling.max, spec.rollout.bake_seconds) == (12, 1800)
    commands = {each.command for each in parsed if isinstance(each, CommandGiven)}
    assert commands == {"pause", "rollback"}


@pytest.mark.parametrize("source", [PROMETHEUS, MetricsSource("cloud-monitoring")])
def test_the_examples_of_gates_are_accepted_after_a_first_release(source: MetricsSource) -> None:
    first = ReleaseRequested("tiny", "1", {"artifact": {"image": "us-docker.pkg.dev/p/r/tiny:1"}})
    stable = resolve(first, None)
    for message in messages(ROOT / "docs/gates.md"):
        release = parse(decode_json(message.encode()))
        assert isinstance(release, ReleaseRequested)
        spec = resolve(release, stable, has_metrics=True)
        assert spec.rollout.gates or spec.rollout.abort_on_alerts
        assert not unmeasurable(spec, source)


def test_the_readme_is_short() -> None:
    assert len(text(README).splitlines()) <= 200


def test_the_table_of_results_matches_the_measurements() -> None:
    for page in bench_page.PAGES:
        assert bench_page.update(text(page), page) == text(page), "run python -m bench.page"


def test_how_long_gates_take_is_computed() -> None:
    page = text(times.PAGE)
    assert times.update(page) == page, "run python -m bench.gates.times"


def test_the_example_of_a_strategy_works() -> None:
    namespace: dict[str, Any] = vars(strategies) | vars(rolling)
    exec(blocks(CONTRIBUTING, "python")[0], namespace)
    steps = namespace["STRATEGIES"]["probe"].steps
    first, second = release("1"), release("2")
    assert [step.percent for step in steps(base.Swap(first, second, "blue"))] == [1, 100]
    assert [step.percent for step in steps(base.Swap(None, second, None))] == [100]


def test_the_methods_of_a_strategy_and_a_gate_are_documented() -> None:
    for title, protocol in (("strategy", base.Strategy), ("gate", gates.base.Gate)):
        section = text(CONTRIBUTING).split(f"## How to add a {title}\n")[1].split("\n## ")[0]
        methods = {name for name in vars(protocol) if not name.startswith("_")}
        assert methods <= set(re.findall(r"`(\w+)(?:\(\w+\))?`", section))


@pytest.mark.parametrize(
    "hop",
    sorted(
        {
            (page, name, path)
            for page in (README, CONTRIBUTING)
            for name, path in re.findall(r"`(\w+)`\s+(?:in|of)\s+\[([\w/]+)\.py\]", text(page))
        }
    ),
    ids=lambda hop: f"{hop[1]} in {hop[2]}",
)
def test_functions_exist_in_the_linked_files(hop: tuple[Path, str, str]) -> None:
    _, name, path = hop
    code = text(ROOT / f"{path}.py")
    assert re.search(rf"^\s*(?:def|class) {name}\b|^{name}\b", code, re.MULTILINE)


def test_the_readme_shows_five_hops() -> None:
    hops = re.findall(r"^\d\. .*", text(README).split("five hops")[1], re.MULTILINE)
    assert len(hops) == 5


def test_the_readme_names_the_resources_that_a_release_creates() -> None:
    story = Scenario()
    story.given_certificate("cert")
    before = story.resources()
    story.when_released("1", traffic={"certificate": "cert"})
    story.when_settled()
    created = {
        name
        for collection, _, name in (each.partition("/") for each in story.resources() - before)
        if collection not in ("instances", "instanceGroups", "disks")
    }
    named = set(re.findall(r"`([^`\n]+)`", text(README)))
    assert {re.sub(r"[0-9a-f]{10}$", "", name) for name in created} <= named


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_topics_and_subscriptions_are_deployed(page: Path) -> None:
    known = set(re.findall(r"^[A-Z_]+=([\w-]+)$", text(ROOT / "deploy/common.sh"), re.MULTILINE))
    content = text(page).split("## Retired words")[0]
    named = re.findall(
        r"(?<![\w./-])model-(?:releases|wakeups|rollout)[\w-]*(?![\w.-]*\.json)", content
    )
    assert {name.rstrip("-") for name in named} - {"model-release"} <= known


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_named_tests_exist(page: Path) -> None:
    code = "\n".join(text(path) for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text(page))) - {
        "test_a_duplicate_event_changes_nothing"
    }
    assert named <= set(re.findall(r"def (test_\w+)", code))


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=by_name)
def test_pictures_are_well_formed_and_have_a_title(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert root.get("viewBox")


def test_no_text_of_the_picture_crosses_the_edge_of_its_box() -> None:
    """Measured with 0.62 of the font size for a character, as wide as any common font is."""
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.parse(ROOT / "docs/flow.svg").getroot()
    boxes = [
        [float(box.get(side, 0)) for side in ("x", "y", "width", "height")]
        for box in root.iter(f"{svg}rect")
    ]
    for each in root.iter(f"{svg}text"):
        x, y, style = float(each.get("x", 0)), float(each.get("y", 0)), each.get("class", "")
        size = 12 if "note" in style else 13 if "code" in style else 14
        width = 0.62 * size * len(each.text or "")
        left = x - width / 2 if "middle" in style else x - width if "end" in style else x
        around = [
            box
            for box in boxes
            if box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]
        ]
        innermost = min(around, key=lambda box: box[2])
        assert innermost[0] < left, each.text
        assert left + width < innermost[0] + innermost[2], each.text


# ---- On call


def test_the_example_of_a_status_event_has_its_fields() -> None:
    story = Scenario()
    story.when_released("1")
    event = json.loads(story.published_on("model-rollout-status")[-1])
    documented = json.loads(example(OPERATIONS, "a status event of type io.slipway.rollout.v1"))
    assert set(documented) == set(event)
    assert story.attributes_on("model-rollout-status")[-1]["ce-type"] == "io.slipway.rollout.v1"
    assert set(story.log()[-1]) == set(event)


def test_reasons_outcomes_and_conditions_are_explained() -> None:
    deciding = [*(ROOT / "rollout").rglob("*.py"), *(ROOT / "handlers").rglob("*.py")]
    code = "\n".join(text(path) for path in deciding)
    conditions = set(re.findall(r'Condition\(\s*"(\w+)"', code))
    cells = {
        name
        for line in text(OPERATIONS).splitlines()
        if line.startswith("|")
        for name in re.findall(r"`([^`]+)`", line)
    }
    assert conditions
    assert {*get_args(model.Reason), *get_args(model.Verb), *conditions} <= cells
    assert set(get_args(model.Outcome)) <= set(re.findall(r"`([^`\n]+)`", text(README)))


def test_documented_log_messages_are_written() -> None:
    section = text(OPERATIONS).split("### Log lines")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    written = "\n".join(
        text(path) for folder in ("handlers", "infra") for path in (ROOT / folder).rglob("*.py")
    )
    assert len(rows) >= 8
    assert [row for row in rows if f'"{row}"' not in written] == []


def test_the_fields_of_a_models_document_are_documented() -> None:
    section = text(OPERATIONS).split("#### The document of a model")[1].split("\n### ")[0]
    document = to_document(ModelState(model.Desired("tiny")))
    nested = {f"{part}.{name}" for part in ("desired", "rollout") for name in document[part]}
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)}
    assert documented == (set(document) - {"desired", "rollout"}) | nested
    phases = re.findall(r"^    \"(\w+)\": \w+,$", text(ROOT / "infra/store/documents.py"), re.M)
    assert len(phases) == 5
    assert set(phases) <= set(re.findall(r"`(\w+)`", section))


def test_the_words_of_a_status_event_are_documented() -> None:
    """`from` and `to` of every transition that the code records."""
    words: set[str] = {"step_1", "settled", *get_args(model.Outcome)}
    positions = {"Transition": (1, 2), "_change": (3,)}
    for folder in ("rollout", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(text(path))):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                    given = [call.args[at] for at in positions.get(call.func.id, ())]
                    words |= {str(arg.value) for arg in given if isinstance(arg, ast.Constant)}
    section = text(OPERATIONS).split("### Status events")[1].split("\n## ")[0]
    assert len(words) > 12
    assert words <= set(re.findall(r"`(\w+)`", section))
    events = {"step" if word == "step_1" else word for word in words}
    assert events - {"published"} <= set(notifications.EVENTS)


def test_the_examples_of_notifications_are_valid() -> None:
    settings = load_notifications(json.loads(example(NOTIFICATIONS, "notifications")))
    assert settings.problems == ()
    named = json.loads(example(NOTIFICATIONS, "secrets of notifications"))
    assert {each.secret for each in settings.destinations} == set(named)
    command = example(NOTIFICATIONS, "notifications in Firestore's form")
    stored = json.loads(command.split("-d '")[1].rsplit("'", 1)[0])["fields"]
    team = load_notifications({name: plain(value) for name, value in stored.items()})
    assert (team.destinations, team.problems) == (settings.destinations[2:], ())


def test_the_example_of_sources_is_valid_and_names_each_field() -> None:
    routes = sources.load_routes(json.loads(example(SOURCES, "sources")))
    assert len(routes) == 4
    assert len(read_webhook_secrets(example(SOURCES, "secrets of webhooks")).mlflow) == 2
    table = text(SOURCES).split("| field |")[1].split("\n\n")[0]
    fields = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert fields == {each.name for each in dataclasses.fields(sources.Route)} - {"name"}
    vendors = text(SOURCES).split("| `source` |")[1].splitlines()[0]
    assert set(get_args(model_of_sources.SourceName)) <= set(re.findall(r"`(\w+)`", vendors))


def test_events_and_the_body_of_a_webhook_are_documented() -> None:
    section = text(NOTIFICATIONS).split("## Events")[1].split("\n## ")[0]
    default, table = section.split("|", 1)
    assert set(re.findall(r"`(\w+)`", default)) == set(notifications.DEFAULT_EVENTS)
    cells = "".join(line.split("|")[1] for line in f"|{table}".splitlines() if line[:1] == "|")
    named = re.findall(r"`(\w+)`", cells)
    assert sorted(named) == sorted(notifications.EVENTS)
    documented = json.loads(example(NOTIFICATIONS, "the body of a webhook"))
    body = json.loads(webhook_body(sent()))
    assert set(documented) == set(body)
    assert set(documented["data"]) | {"outcome"} == set(body["data"])


def test_the_examples_of_a_policy_are_valid() -> None:
    policy = load_policy(json.loads(example(OPERATIONS, "a policy")))
    assert policy.max_instances == 20
    section = text(OPERATIONS).split("## The policy")[1].split("\n## ")[0]
    in_document = {field.name for field in fields(Policy)} - {"prices", "is_signed", "project"}
    assert [name for name in sorted(in_document) if f"`{name}`" not in section] == []
    command = example(OPERATIONS, "a policy in Firestore's form")
    stored = json.loads(command.split("-d '")[1].rsplit("'", 1)[0])["fields"]
    assert load_policy({name: plain(value) for name, value in stored.items()}).max_instances == 20


def test_the_commands_that_sign_an_image_work(tmp_path: Path) -> None:
    require_program("openssl")
    commands = example(OPERATIONS, "signing an image")
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    image = commands.partition("IMAGE=")[2].split()[0]
    signers = [(tmp_path / "signer.pub").read_text()]
    with_policy = load_policy({"signers": signers}, is_signed=is_signed)
    signed = {"image": image, "signature": done.stdout.strip()}
    artifact = resolve(ReleaseRequested("tiny", "1", {"artifact": signed}), None).artifact
    assert unsigned(with_policy, "tiny", "1", artifact) == ()
    assert unsigned(with_policy, "other", "1", artifact) != ()


def plain(value: dict[str, Any]) -> Any:
    """The plain value of one in Firestore's REST form."""
    match value:
        case {"integerValue": number}:
            return int(number)
        case {"stringValue": str(found)}:
            return found
        case {"mapValue": {"fields": values}}:
            return {name: plain(each) for name, each in values.items()}
        case {"arrayValue": {"values": values}}:
            return [each["stringValue"] for each in values]
    raise ValueError(f"neither a number, text, a map nor a list of strings: {value}")


def test_every_entry_point_is_deployed() -> None:
    deployed = set(re.findall(r'deploy "\$\w+" (\w+)', text(ROOT / "deploy/functions.sh")))
    documented = re.findall(r"^\| `slipway-[\w-]+` \| `(on_\w+)` \|", text(DEPLOYING), re.MULTILINE)
    assert deployed == set(documented)
    defined = ast.parse(text(ROOT / "main.py")).body
    assert deployed <= {each.name for each in defined if isinstance(each, ast.FunctionDef)}


# ---- Contributing


def test_the_hooks_before_a_commit_run_every_part_of_make_check() -> None:
    hooks = yaml.safe_load(text(ROOT / ".pre-commit-config.yaml"))["repos"][0]["hooks"]
    parts = re.findall(r"^check: ([^#\n]+)", text(ROOT / "Makefile"), re.MULTILINE)[0].split()
    assert [hook["entry"] for hook in hooks] == [f"make {part}" for part in parts]


def test_the_retired_words_are_a_table_of_two_columns() -> None:
    section = text(STYLE).split("## Retired words")[1].split("\n\n|")[1].split("\n\n")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines()]
    assert [cell.strip() for cell in rows[0]] == ["Retired", "Replacement"]
    assert len(rows) > 40
    assert all(len(row) == 2 for row in rows)
