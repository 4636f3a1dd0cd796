from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from local.picture import AREA, BOLD_LETTER, SHARES, SHARES_GAP, TOP, draw
from local.report import Report
from tests.local.runs import ENTRIES, a_canary_run, a_run, entry

SVG = "{http://www.w3.org/2000/svg}"


def drawn(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(draw(report))


def texts(report: Report) -> list[str]:
    return [element.text or "" for element in drawn(report).iter(f"{SVG}text")]


def edges(report: Report, layer: str) -> list[float]:
    """The vertical edges of a layer's rectangles."""
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


def test_each_release_has_its_name_phases_and_outcome() -> None:
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
        "minutes since the first release, in the run's time",
        "floor: 4 healthy",
        "0",
        "11",
    ):
        assert text in found


def test_healthy_instances_are_stacked_below_the_others() -> None:
    report = a_run()
    most = 7  # one more than the highest count
    sick = edges(report, "release 3: starting, unhealthy or stopping")
    assert sick == [round(TOP + AREA * (1 - 5 / most), 1), round(TOP + AREA * (1 - 4 / most), 1)]


def test_a_canarys_share_is_stacked_on_that_of_the_stable_release() -> None:
    bottom = TOP + AREA + SHARES_GAP + SHARES
    heights = [bottom - SHARES * share for share in (1.0, 0.95, 0.5, 0.0)]
    assert edges(a_canary_run(), "requests to release 2") == [round(y, 1) for y in heights]
    assert edges(a_canary_run(), "requests to release 3") == [round(y, 1) for y in heights[:2]]
    assert {"5 %", "50 %", "100 %"} <= {*texts(a_canary_run())}
    assert "requests" not in texts(a_run())


@pytest.mark.parametrize("report", [a_run(), a_canary_run()], ids=["rolling", "canary"])
def test_everything_is_inside_the_frame(report: Report) -> None:
    root = drawn(report)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.attrib.get("x", 0)), float(rect.attrib.get("y", 0))
        assert 0 <= x <= x + float(rect.attrib["width"]) <= width
        assert 0 <= y <= y + float(rect.attrib["height"]) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height


def test_foreign_text_is_escaped() -> None:
    entries = (*ENTRIES, replace(entry(12, "4", "published", "desired"), why='<script>&"'))
    assert "<script>" not in draw(a_run(entries))
    drawn(a_run(entries))


def test_a_run_without_data_has_a_picture() -> None:
    assert "instances" in texts(a_run((), ()))


def test_each_outcome_follows_its_own_bar_inside_the_frame() -> None:
    root = drawn(a_run())
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    outcomes = [text for text in root.iter(f"{SVG}text") if (text.text or "")[0] in "✓↩"]
    assert len(outcomes) == 3
    for text in outcomes:
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        lane = [bar for bar in bars if 0 < y - float(bar.attrib["y"]) < float(bar.attrib["height"])]
        end = max(float(bar.attrib["x"]) + float(bar.attrib["width"]) for bar in lane)
        assert 0 < x - end < 10
        assert x + BOLD_LETTER * len(text.text or "") <= float(root.attrib["viewBox"].split()[2])


def test_the_line_of_the_floor_begins_when_the_first_release_has_succeeded() -> None:
    root = drawn(a_run())
    (line,) = (p for p in root.iter(f"{SVG}path") if p.findtext(f"{SVG}title") == "floor")
    starts = re.match(r"M([\d.]+) ", line.attrib["d"])
    succeeded = next(t for t in root.iter(f"{SVG}text") if t.text == "✓ succeeded")
    assert starts
    assert abs(float(starts[1]) - (float(succeeded.attrib["x"]) - 8)) < 0.2


def test_without_a_successful_release_there_is_no_floor() -> None:
    assert "floor: 4 healthy" not in texts(a_run(ENTRIES[:3]))
