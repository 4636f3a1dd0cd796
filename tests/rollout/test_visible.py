"""No text of somebody else reaches a person with characters that hide, move or reorder others."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable

import pytest

from console import text as terminal
from handlers.sources.fields import text_at
from infra.metrics import fetch
from rollout.policy.policy import load_policy
from rollout.spec.message import parse
from rollout.spec.problems import Invalid
from rollout.visible import escape, is_visible, one_line
from tests.scenario import Scenario

EVERY = [chr(code) for code in range(sys.maxunicode + 1)]
# Controls, formats, private use, surrogates, unassigned, and separators of lines and paragraphs.
NEVER = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
# Unicode's Default_Ignorable_Code_Point, from DerivedCoreProperties.txt, and blanks that are none.
IGNORABLE = [
    *"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u200b\u200c\u200d",
    *"\u200e\u200f\u202a\u202e\u2060\u2064\u2065\u206f\u2800\u3164\ufe00\ufe0e\ufe0f\ufeff\uffa0",
    *"\ufff0\U00013441\U00013442\U00016fe4\U0001bca0\U0001d173\U000e0001\U000e0041\U000e007f\U000e0100\U000e01ef\U000e0fff",
]
HIDDEN = f"a{''.join(IGNORABLE)}b"


def test_every_character_is_visible_or_escaped() -> None:
    for character in EVERY:
        escaped = escape(character)
        assert is_visible(escaped), ascii(character)
        assert escaped == character or escaped.isascii(), ascii(character)


def test_no_control_and_no_ignorable_character_is_visible() -> None:
    assert not [each for each in EVERY if unicodedata.category(each) in NEVER and is_visible(each)]
    assert not [ascii(each) for each in IGNORABLE if is_visible(each)]


def test_a_pile_of_marks_covers_no_other_line() -> None:
    mark = "\u0301"
    assert escape(f"a{mark * 4}") == f"a{mark * 4}"
    assert escape(f"a{mark * 6}b{mark}") == f"a{mark * 4}\\u0301\\u0301b{mark}"
    assert escape("\u0338approved") == "\\u0338approved"  # would strike out what is before it
    assert not is_visible(f"a{mark * 5}")


def test_what_people_write_in_their_languages_stays() -> None:
    for text in (
        "Ångström, naïve",
        "наташа",
        "日本語の理由",
        "שלום",
        "שָׁלוֹם",
        "नमस्ते",
        "hotfix 🔥",
        "",
    ):
        assert escape(text) == one_line(text, 99) == text
    assert escape("an\u200bn") == "an\\u200bn"
    assert one_line("a\n b", 99) == "a b"
    assert one_line("abcd", 3) == "ab…"


@pytest.mark.parametrize(
    ("text", "displayed"),
    [
        ("\u0430nn", "\\u0430nn"),  # Cyrillic a
        ("\u0430\u0441\u0430@example.com", "\\u0430\\u0441\\u0430@example.com"),
        ("release \u0391dmin", "release \\u0391dmin"),  # Greek capital alpha
        ("\uff41nn, \U0001d41ann", "\\uff41nn, \\U0001d41ann"),  # full-width, mathematical
        ("Δt = 3 μs, β-Test, GPU-модель, наташа, ＧＰＵ", None),
    ],
)
def test_a_letter_that_imitates_a_latin_one_is_shown_as_its_escape(
    text: str, displayed: str | None
) -> None:
    assert escape(text) == (displayed or text)
    assert escape(escape(text)) == escape(text)


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(terminal.escape, id="terminal and dashboard"),
        pytest.param(lambda text: one_line(text, 999), id="notifications and verdicts"),
        pytest.param(fetch.short, id="errors of others"),
        pytest.param(lambda text: text_at({"name": text}, "name"), id="sources"),
    ],
)
def test_each_way_to_a_person_shows_visible_text(show: Callable[[str], str]) -> None:
    for character in IGNORABLE:
        assert is_visible(show(f"a{character}b")), ascii(character)


@pytest.mark.parametrize(
    "policy",
    [
        {"stop": {"reason": HIDDEN}},
        {"freezes": [{"reason": HIDDEN, "from": "fri 18:00", "to": "mon 08:00"}]},
        {"approvers": {HIDDEN: "a key"}},
        {"service_accounts": [HIDDEN]},
    ],
)
def test_a_policy_names_its_people_and_reasons_visibly(policy: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="settings/policy: "):
        load_policy(policy)


@pytest.mark.parametrize("field", ["requested_by", "reason"])
def test_a_publishers_text_is_refused_or_escaped_when_it_arrives(field: str) -> None:
    for character in IGNORABLE:
        fields = {"model": "tiny", "version": "1", field: f"a{character}b"}
        for body in (fields, {"model": "tiny", "command": "pause", field: f"a{character}b"}):
            try:
                text = getattr(parse(body), field)
            except Invalid as error:
                text = str(error)
            assert is_visible(text), ascii(character)


def test_nothing_hidden_reaches_documents_or_events() -> None:
    story = Scenario()
    hidden = "a\u200b\u2060\U000e0041\ufe0f\u3164b"
    story.when_released("1", requested_by=hidden, reason=hidden)
    story.when_commanded("pause", requested_by=hidden, reason=hidden)
    record = story.store.get("models/tiny/releases/1")
    assert record is not None
    assert record.data["requested_by"] == "a\\u200b\\u2060\\U000e0041\\ufe0f\\u3164b"
    documents = [*story.store.list("models", 9), *story.store.list("models/tiny/log", 99), record]
    events = [json.loads(message.data) for _, message in story.published]
    assert len(events) > 1
    for each in (*(document.data for document in documents), *events):
        text = json.dumps(each, ensure_ascii=False, default=str)
        assert not [ascii(character) for character in text if not is_visible(character)]
