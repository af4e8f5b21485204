"""check.html: what a check found, on one page that needs nothing else and reaches for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .markup import badge, document, image, word

BUDGET = 4_000_000
"""Bytes of embedded pictures, as they stand in the page; what comes after is named without its picture."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture of a case.

    Args:
        name: Its file.
        lines: What is known of it: its answer, its part.
        jpeg: A small version; None where it cannot be shown.
    """

    name: str
    lines: tuple[str, ...] = ()
    jpeg: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """One case: what is said of it, and its pictures side by side."""

    text: str
    pictures: tuple[Shown, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One check.

    Args:
        what: What was checked.
        severity: How it stands.
        sentence: What was found.
        todo: What to do about it.
        cards: The cases that are shown.
        rest: How many more there are.
        sheet: A larger picture to show, JPEG.
    """

    what: str
    severity: str
    sentence: str
    todo: str = ""
    cards: tuple[Card, ...] = ()
    rest: int = 0
    sheet: bytes | None = None


def page(*, title: str, verdict: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page as HTML. Every text is escaped here, so that a file called `<b>.png` is only a name.

    Args:
        title: What was checked.
        verdict: The one sentence to read.
        facts: Names and values of what the check rests on.
        sections: The checks, those to be decided first.
    """
    budget = [BUDGET]
    told = [
        section for section in sections if section.cards or section.sheet or section.severity in ("must decide", "look")
    ]
    rows = "\n".join(_row(section, section in told) for section in sections)
    body = "\n".join(_section(section, budget) for section in told)
    listed = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    header = f'<p class="verdict">{escape(verdict)}</p>\n<dl>{listed}</dl>'
    return document(
        title,
        header,
        f"""<section id="checks" aria-labelledby="checks-title">
<h2 id="checks-title">All checks</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="checks-title">
<table>
<thead><tr><th scope="col">check</th><th scope="col">verdict</th><th scope="col">what was found</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</section>
{body}""",
        skip=("checks", "To the checks"),
    )


def _row(section: Section, told: bool) -> str:
    name = escape(section.what)
    linked = f'<a href="#{_anchor(section)}">{name}</a>' if told else name
    return (
        f'<tr><th scope="row">{linked}</th><td>{badge(section.severity)}</td><td>{escape(section.sentence)}</td></tr>'
    )


def _anchor(section: Section) -> str:
    return f"check-{word(section.what)}"


def _section(section: Section, budget: list[int]) -> str:
    anchor = _anchor(section)
    todo = f'<p class="todo">{escape(section.todo)}</p>' if section.todo else ""
    cards = "\n".join(_card(card, budget) for card in section.cards)
    plain = "" if any(card.pictures for card in section.cards) else " plain"
    listed = f'<ul class="cards{plain}">\n{cards}\n</ul>' if cards else ""
    sheet = image(section.sheet, f"Sheet: {section.what}", budget) if section.sheet else ""
    rest = f'<p class="rest">and {section.rest} more, all of them in check.json</p>' if section.rest else ""
    return f"""<section id="{anchor}" aria-labelledby="{anchor}-title">
<h2 id="{anchor}-title">{escape(section.what.capitalize())} {badge(section.severity)}</h2>
<p>{escape(section.sentence)}</p>
{todo}
{sheet}
{listed}
{rest}
</section>"""


def _card(card: Card, budget: list[int]) -> str:
    pictures = "".join(_figure(shown, budget) for shown in card.pictures)
    text = f"<p>{escape(card.text)}</p>" if card.text else ""
    wide = f' class="of-{min(len(card.pictures), 3)}"' if len(card.pictures) > 1 else ""
    return f'<li{wide}>{text}<div class="pictures">{pictures}</div></li>' if pictures else f"<li>{text}</li>"


def _figure(shown: Shown, budget: list[int]) -> str:
    lines = "".join(f"<span>{escape(line)}</span>" for line in shown.lines)
    picture = image(shown.jpeg, f"The picture {shown.name}", budget) if shown.jpeg else ""
    return (
        f"<figure>{picture or _missing(shown)}"
        f'<figcaption><span class="name">{escape(shown.name)}</span>{lines}</figcaption></figure>'
    )


def _missing(shown: Shown) -> str:
    return f'<div class="none">{"left out, for the page is full" if shown.jpeg else "cannot be shown"}</div>'
