"""The page is whole, needs nothing from elsewhere, and takes every text as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from finetune.report import page as page_module
from finetune.report.page import Card, Section, Shown, page

VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Notes the elements of a page, and refuses one whose elements do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


ODD = "<b>&\"'.png"


def made(**words):
    shown = Shown(name=ODD, lines=(f"answer: {ODD}",), jpeg=b"\xff\xd8 picture")
    cards = (Card(text=ODD, pictures=(shown, shown)),)
    section = Section(what=f"copies {ODD}", severity="must decide", sentence=ODD, todo=ODD, cards=cards, rest=7)
    plain = Section(what="dark", severity="fine", sentence="Nothing.")
    return page(title=ODD, verdict=ODD, facts=[(ODD, ODD)], sections=words.get("sections", [section, plain]))


def test_every_element_is_closed_and_every_picture_and_region_named():
    found = Reader(made())
    assert all(attrs["alt"] for attrs in found.all("img")) and len(found.all("img")) == 2
    assert found.all("html")[0]["lang"] == "en" and len(found.all("h1")) == 1 and len(found.all("main")) == 1
    ids = [attrs["id"] for _, attrs in found.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = [attrs["aria-labelledby"] for _, attrs in found.found if "aria-labelledby" in attrs]
    assert named and set(named) <= set(ids)


def test_links_lead_to_places_on_the_page():
    found = Reader(made())
    ids = {attrs["id"] for _, attrs in found.found if "id" in attrs}
    assert {attrs["href"].removeprefix("#") for attrs in found.all("a")} <= ids
    assert all(attrs["href"].startswith("#") for attrs in found.all("a"))


def test_the_page_reaches_for_nothing():
    text = made()
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<script|<link", text)
    assert {attrs["src"].partition(",")[0] for attrs in Reader(text).all("img")} == {"data:image/jpeg;base64"}


def test_odd_names_are_only_names():
    text = made()
    found = Reader(text)
    assert found.all("b") == [] and "".join(found.texts).count(ODD) >= 8
    assert "<b>" not in text


def test_what_is_not_shown_is_counted():
    assert "and 7 more" in made()


def test_a_page_stays_small_and_says_which_pictures_were_left_out(monkeypatch):
    monkeypatch.setattr(page_module, "BUDGET", 3000)
    cards = tuple(Card(text="", pictures=(Shown(name=f"{n}.png", jpeg=b"x" * 900),)) for n in range(5))
    found = Reader(made(sections=[Section(what="dark", severity="look", sentence="", cards=cards)]))
    assert len(found.all("img")) == 2
    assert sum("page is full" in text for text in found.texts) == 3


def test_light_and_dark_and_narrow_screens_are_provided_for():
    text = made()
    assert "prefers-color-scheme: dark" in text and "max-width: 40rem" in text and 'name="viewport"' in text
