"""The page of a run is whole, needs nothing from elsewhere, and can be read by anybody in a real browser."""

import pytest

from finetune.report.run_page import run_page
from tests.browser import PROGRAM, browser
from tests.report.made_runs import ODD, facts, figure
from tests.report.test_page import Reader

TITLES = ("Figures", "Training and validation", "What was taken for what", "Is it as sure as it is right?",
          "Each class", "The worst errors", "Slices", "Data", "Plan", "How to repeat")  # fmt: skip


def headings(text):
    found = Reader(text)
    return [title for title in TITLES if title in found.texts]


def test_the_sections_come_in_order_below_the_verdict():
    text = run_page(facts())
    places = [text.index(f">{title}</h2>") for title in TITLES]
    assert places == sorted(places) and text.index('class="verdict"') < places[0]


def test_every_element_is_closed_and_every_picture_region_and_drawing_named():
    found = Reader(run_page(facts()))
    assert len(found.all("img")) == 2 and all(one["alt"] for one in found.all("img"))
    ids = [attrs["id"] for _, attrs in found.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = {n for _, attrs in found.found if "aria-labelledby" in attrs for n in attrs["aria-labelledby"].split()}
    assert named <= set(ids) and all(one["aria-label"] for one in found.all("div") if one.get("role") == "region")
    assert {one["href"] for one in found.all("a")} <= {f"#{i}" for i in ids}


def test_names_are_text():
    assert ODD not in run_page(facts()) and ODD in Reader(run_page(facts())).texts


def test_what_there_is_nothing_to_say_of_is_left_out():
    number = {**facts().model, "labels": {"kind": "number", "names": []}}
    bare = facts(
        metrics={"test": {"rmse": figure(0.4)}}, epochs=[], mistakes=[], model=number,
        story={**facts().story, "primary": "rmse"},
    )  # fmt: skip
    assert headings(run_page(bare)) == ["Figures", "Data", "Plan", "How to repeat"]
    assert headings(run_page(facts(metrics={}, epochs=[], mistakes=[], split=[]))) == ["Data", "Plan", "How to repeat"]


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("needs a Chromium to open pages in")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_a_browser_finds_nothing_wrong_at_any_width_in_light_and_dark(tab, tmp_path):
    page, papers = tmp_path / "report.html", {}
    page.write_text(run_page(facts()), encoding="utf-8")
    for width, dark in ((375, False), (1200, True)):
        tab.open(page, width=width, dark=dark)
        assert tab.told() == [] and tab.asked() == [page.as_uri()]
        assert tab.value("document.documentElement.scrollWidth") <= width
        papers[dark] = tab.value("getComputedStyle(document.body).backgroundColor")
        # What is drawn can be told from the paper it is drawn on.
        assert tab.value("getComputedStyle(document.querySelector('svg text')).fill") != papers[dark]
    assert papers[True] != papers[False]
