from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

from local.picture import AREA, TOP, draw
from local.report import Report
from tests.local.runs import ENTRIES, a_run, told

SVG = "{http://www.w3.org/2000/svg}"


def drawn(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(draw(report))


def texts(report: Report) -> list[str]:
    return [element.text or "" for element in drawn(report).iter(f"{SVG}text")]


def edges(report: Report, layer: str) -> list[float]:
    """The heights at which the rectangles of a layer begin and end."""
    path = next(
        p.attrib["d"]
        for p in drawn(report).iter(f"{SVG}path")
        if p.findtext(f"{SVG}title") == layer
    )
    return sorted(
        {float(y) for box in path.split("M")[1:] for y in re.findall(r"(?:^\S+ |V)([\d.]+)", box)}
    )


def test_the_same_report_gives_the_same_picture() -> None:
    assert draw(a_run()) == draw(a_run())


def test_every_release_is_named_with_its_phases_and_its_outcome() -> None:
    found = texts(a_run())
    for text in (
        "release 1",
        "release 2",
        "release 3",
        "step 1",
        "step 3",
        "baking",
        "✓ succeeded",
        "↩ rolled back: unhealthy",
    ):
        assert text in found


def test_both_axes_and_the_floor_are_labelled() -> None:
    found = texts(a_run())
    for text in (
        "instances",
        "minutes since the first release, in the run's own time",
        "floor: 4 healthy",
        "0",
        "11",
    ):
        assert text in found


def test_what_is_healthy_is_stacked_below_what_is_not() -> None:
    report = a_run()
    most = 7  # one more than there ever were
    sick = edges(report, "release 3: starting, unhealthy or leaving")
    assert sick == [round(TOP + AREA * (1 - 5 / most), 1), round(TOP + AREA * (1 - 4 / most), 1)]


def test_nothing_in_the_picture_leaves_its_frame() -> None:
    root = drawn(a_run())
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.attrib.get("x", 0)), float(rect.attrib.get("y", 0))
        assert 0 <= x <= x + float(rect.attrib["width"]) <= width
        assert 0 <= y <= y + float(rect.attrib["height"]) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height


def test_words_of_others_cannot_break_the_picture() -> None:
    entries = (*ENTRIES, replace(told(12, "4", "published", "desired"), why='<script>&"'))
    assert "<script>" not in draw(a_run(entries))
    drawn(a_run(entries))


def test_a_run_in_which_nothing_was_seen_still_has_a_picture() -> None:
    assert "instances" in texts(a_run((), ()))
