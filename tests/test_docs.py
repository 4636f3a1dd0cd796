"""What the README and the pages of docs/ say is true: links lead somewhere, events are accepted,
names are those of the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from bench.readme import updated
from infra.fleet import naming
from infra.signatures import is_signed
from infra.store.documents import State, to_document
from rollout import model
from rollout.policy.caps import violations
from rollout.policy.policy import Policy, load_policy
from rollout.spec.message import CommandGiven, ReleaseRequested, decode_json, parse, resolve
from rollout.spec.model import Spec
from rollout.strategies import rolling
from tests.rollout.build import release
from tests.scenario import Scenario
from tests.tools import require_program

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "emulator/README.md",
    ROOT / "emulator/tests/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
README, OPERATIONS = PAGES[0], ROOT / "docs/operations.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MESSAGE = re.compile(r"--message='(\{.*?\})'", re.DOTALL)
A_PATH = re.compile(
    r"(?:docs|deploy|handlers|infra|local|rollout|tests|schemas|bench|examples)/[\w./-]*\w|main\.py"
)
NOT_YET = {
    "infra/fleet/resources/firewall.py",
    "bench/results.json",
}  # made by whoever follows the page


def text(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(text(page)) if kind == language]


def example(page: Path, name: str) -> str:
    """The block behind `<!-- example: name -->`."""
    return FENCE.findall(text(page).split(f"<!-- example: {name} -->")[1])[0][1]  # type: ignore[no-any-return]


def messages(page: Path) -> list[str]:
    """What the page would have people publish on `model-releases`."""
    published = [found for found in MESSAGE.findall(text(page)) if "$" not in found]
    bodies = [json.loads(block) for block in blocks(page, "json")]
    return published + [
        json.dumps(body) for body in bodies if "model" in body and "from" not in body
    ]


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(text(page)):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    for quoted in re.findall(r"`([^`\n]+)`", text(page)):
        if A_PATH.fullmatch(quoted.split(" ")[0]) and quoted not in NOT_YET:
            assert (ROOT / quoted.split(" ")[0]).exists(), quoted


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_make_command_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    code = "\n".join([*re.findall(r"`([^`\n]+)`", text(page)), *blocks(page, "sh")])
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets


def test_two_commands_do_everything() -> None:
    assert [line.split(" #")[0].strip() for line in blocks(README, "sh")[0].splitlines()] == [
        "make demo",
        "make test",
    ]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_event_would_be_accepted(page: Path) -> None:
    for message in messages(page):
        assert isinstance(parse(decode_json(message.encode())), ReleaseRequested | CommandGiven)


def test_the_readmes_releases_follow_from_each_other() -> None:
    spec: Spec | None = None
    asked = [parse(decode_json(message.encode())) for message in messages(README)]
    for each in asked:
        if isinstance(each, ReleaseRequested):
            spec = resolve(each, spec)
    assert spec
    assert [step.percent for step in spec.rollout.steps] == [10, 50, 100]
    assert (spec.scaling.max, spec.rollout.bake_seconds) == (12, 1800)
    assert {command.command for command in asked if isinstance(command, CommandGiven)} == {
        "pause",
        "rollback",
    }


def test_the_readmes_speeds_are_those_measured() -> None:
    assert updated(text(README)) == text(README), "run python -m bench.readme"


def test_the_readmes_strategy_works_as_it_stands() -> None:
    space: dict[str, Any] = dict(vars(rolling))
    exec(blocks(README, "python")[0], space)
    ladder = space["STRATEGIES"]["probe"].steps
    assert [step.percent for step in ladder(rolling.Swap(release("1"), release("2")))] == [1, 100]
    assert [step.percent for step in ladder(rolling.Swap(None, release("2")))] == [100]


@pytest.mark.parametrize(
    "hop",
    re.findall(r"`(\w+)`(?: asks)? (?:in|of) \[([\w/]+)\.py\]", text(README)),
    ids=lambda hop: hop,
)
def test_every_function_that_the_readme_points_at_is_there(hop: tuple[str, str]) -> None:
    function, path = hop
    assert re.search(
        rf"^\s*(?:def|class) {function}\b|^{function}\b", text(ROOT / f"{path}.py"), re.MULTILINE
    ), hop


def test_the_names_on_compute_engine_are_those_that_are_made() -> None:
    keys = (
        *(
            naming.group("tiny", "blue", "r"),
            naming.autoscaler("tiny", "blue", "r"),
            naming.backend_service("tiny", "blue"),
        ),
        *(
            naming.ready_check("tiny"),
            naming.live_check("tiny"),
            naming.GATEWAY,
            naming.GATEWAY_DEFAULT,
            naming.GATEWAY_ADDRESS,
        ),
        *(
            naming.GATEWAY_HTTP_PROXY,
            naming.GATEWAY_HTTP_RULE,
            naming.GATEWAY_HTTPS_PROXY,
            naming.GATEWAY_HTTPS_RULE,
        ),
    )
    assert {key.name for key in keys} <= set(re.findall(r"`([^`\n]+)`", text(README)))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_topics_and_subscriptions_are_those_of_the_deployment(page: Path) -> None:
    known = set(re.findall(r"^[A-Z_]+=([\w-]+)$", text(ROOT / "deploy/common.sh"), re.MULTILINE))
    named = re.findall(
        r"(?<![\w./-])model-(?:releases|wakeups|rollout)[\w-]*(?![\w.-]*\.json)", text(page)
    )
    assert {name.rstrip("-") for name in named} - {"model-release"} <= known


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    there = set(
        re.findall(
            r"def (test_\w+)", "\n".join(text(path) for path in (ROOT / "tests").rglob("test_*.py"))
        )
    )
    assert set(re.findall(r"`(test_\w+)`", text(page))) <= there


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=by_name)
def test_pictures_are_well_formed_and_say_what_they_show(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert root.get("viewBox")


# ---- On call


def test_the_status_event_is_as_it_is_told() -> None:
    story = Scenario()
    story.when_released("1")
    told = json.loads(story.told("model-rollout-status")[-1])
    shown = json.loads(example(OPERATIONS, "a status event of type io.slipway.rollout.v1"))
    assert set(shown) == set(told)
    assert story.told_attributes("model-rollout-status")[-1]["ce-type"] == "io.slipway.rollout.v1"
    assert set(story.log()[-1]) == set(told)


def test_every_reason_outcome_and_condition_is_explained() -> None:
    conditions = set(
        re.findall(
            r'Condition\("(\w+)"',
            text(ROOT / "rollout/advance.py") + text(ROOT / "handlers/reconcile/loop.py"),
        )
    )
    cells = {
        name
        for line in text(OPERATIONS).splitlines()
        if line.startswith("|")
        for name in re.findall(r"`([^`]+)`", line)
    }
    assert conditions
    assert {*get_args(model.Reason), *get_args(model.Verb), *conditions} <= cells
    assert set(get_args(model.Outcome)) <= set(re.findall(r"`([^`\n]+)`", text(README)))


def test_every_log_message_is_one_that_is_written() -> None:
    section = text(OPERATIONS).split("### Log lines")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    written = "\n".join(
        text(path) for folder in ("handlers", "infra") for path in (ROOT / folder).rglob("*.py")
    )
    assert len(rows) >= 8
    assert [row for row in rows if f'"{row}"' not in written] == []


def test_the_models_document_has_the_fields_that_are_told() -> None:
    row = next(
        line for line in text(OPERATIONS).splitlines() if line.startswith("| `models/{model}` |")
    )
    document = to_document(State(model.Desired("tiny")))
    told = set(re.findall(r"`(\w+)`", row))
    assert told | {"model"} >= set(document) | set(document["rollout"]) | set(document["desired"])


def test_the_policys_examples_are_policies() -> None:
    policy = load_policy(json.loads(example(OPERATIONS, "a policy")))
    assert policy.max_instances == 20
    section = text(OPERATIONS).split("## The policy")[1].split("\n## ")[0]
    in_the_document = {field.name for field in fields(Policy)} - {"prices", "is_signed"}
    assert [name for name in sorted(in_the_document) if f"`{name}`" not in section] == []
    command = example(OPERATIONS, "a policy in Firestore's form")
    stored = json.loads(command.split("-d '")[1].rsplit("'", 1)[0])["fields"]
    assert load_policy({name: plain(value) for name, value in stored.items()}).max_instances == 20


def test_an_image_that_was_signed_as_the_page_says_is_signed(tmp_path: Path) -> None:
    require_program("openssl")
    commands = example(OPERATIONS, "signing an image")
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    image = commands.partition("IMAGE=")[2].split()[0]
    signers = ((tmp_path / "signer.pub").read_text(),)
    assert is_signed(image, done.stdout, signers)
    assert not is_signed(image[:-1], done.stdout, signers)
    with_policy = load_policy({"signers": list(signers)}, is_signed=is_signed)
    signed = {"image": image, "signature": done.stdout}
    assert (
        violations(with_policy, resolve(ReleaseRequested("tiny", "1", {"artifact": signed}), None))
        == ()
    )


def plain(value: dict[str, Any]) -> Any:
    """A value in Firestore's REST form as what it stands for."""
    match value:
        case {"integerValue": number}:
            return int(number)
        case {"arrayValue": {"values": values}}:
            return [each["stringValue"] for each in values]
    raise ValueError(f"no number and no list of texts: {value}")


def test_every_entry_point_is_deployed() -> None:
    deployed = set(re.findall(r'deploy "\$\w+" (\w+)', text(ROOT / "deploy/functions.sh")))
    assert deployed == set(re.findall(r"`(on_\w+)` in \[main\.py\]", text(README)))
    defined = ast.parse(text(ROOT / "main.py")).body
    assert deployed <= {each.name for each in defined if isinstance(each, ast.FunctionDef)}
