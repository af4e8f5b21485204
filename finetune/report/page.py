"""check.html: what a check found, on one page that needs nothing else and reaches for nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

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
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#checks">To the checks</a>
<header>
<h1>{escape(title)}</h1>
<p class="verdict">{escape(verdict)}</p>
<dl>{listed}</dl>
</header>
<main>
<section id="checks" aria-labelledby="checks-title">
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
{body}
</main>
</body>
</html>
"""


def _row(section: Section, told: bool) -> str:
    name = escape(section.what)
    linked = f'<a href="#{_anchor(section)}">{name}</a>' if told else name
    return (
        f'<tr><th scope="row">{linked}</th><td>{_badge(section.severity)}</td><td>{escape(section.sentence)}</td></tr>'
    )


def _badge(severity: str) -> str:
    return f'<span class="badge {_word(severity)}">{escape(severity)}</span>'


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _anchor(section: Section) -> str:
    return f"check-{_word(section.what)}"


def _section(section: Section, budget: list[int]) -> str:
    anchor = _anchor(section)
    todo = f'<p class="todo">{escape(section.todo)}</p>' if section.todo else ""
    cards = "\n".join(_card(card, budget) for card in section.cards)
    plain = "" if any(card.pictures for card in section.cards) else " plain"
    listed = f'<ul class="cards{plain}">\n{cards}\n</ul>' if cards else ""
    sheet = _image(section.sheet, f"Sheet: {section.what}", budget) if section.sheet else ""
    rest = f'<p class="rest">and {section.rest} more, all of them in check.json</p>' if section.rest else ""
    return f"""<section id="{anchor}" aria-labelledby="{anchor}-title">
<h2 id="{anchor}-title">{escape(section.what.capitalize())} {_badge(section.severity)}</h2>
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
    picture = _image(shown.jpeg, f"The picture {shown.name}", budget) if shown.jpeg else ""
    return (
        f"<figure>{picture or _missing(shown)}"
        f'<figcaption><span class="name">{escape(shown.name)}</span>{lines}</figcaption></figure>'
    )


def _missing(shown: Shown) -> str:
    return f'<div class="none">{"left out, for the page is full" if shown.jpeg else "cannot be shown"}</div>'


def _image(jpeg: bytes, alt: str, budget: list[int]) -> str:
    """The picture as part of the page, or nothing where the page would grow too large."""
    text = base64.b64encode(jpeg).decode()
    if len(text) > budget[0]:
        return ""
    budget[0] -= len(text)
    return f'<img src="data:image/jpeg;base64,{text}" alt="{escape(alt)}">'


STYLE = """
:root { --paper: #fbfaf7; --card: #ffffff; --ink: #1d1f21; --soft: #5b6066; --line: #d9d6cf; --link: #0b57a4;
  --must: #a11d1d; --must-paper: #fbe4e2; --look: #704d00; --look-paper: #fbefcf;
  --fine: #1c6133; --fine-paper: #e0f1e4;
  --none: #4d5157; --none-paper: #e8e8e6; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181a; --card: #1f2225; --ink: #e8e6e1; --soft: #a4a9ae; --line: #363a3e; --link: #8ec2f5;
    --must: #ffb4ab; --must-paper: #4a1c1a; --look: #f3cf7a; --look-paper: #3d3010;
    --fine: #9bdcae; --fine-paper: #17361f;
    --none: #c0c4c8; --none-paper: #303438; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
.verdict { font-size: 1.1rem; font-weight: 600; margin: .5rem 0 1rem; }
dl { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: 0; color: var(--soft); }
dl div { display: flex; gap: .4rem; }
dt::after { content: ":"; }
dd { margin: 0; color: var(--ink); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; }
th[scope=row] { font-weight: 600; overflow-wrap: normal; }
td:nth-child(2) { white-space: nowrap; }
.badge { display: inline-block; padding: 0 .5rem; border-radius: 1rem; font-size: .8rem; font-weight: 600;
  white-space: nowrap; vertical-align: middle; background: var(--none-paper); color: var(--none); }
.must-decide { background: var(--must-paper); color: var(--must); }
.look { background: var(--look-paper); color: var(--look); }
.fine { background: var(--fine-paper); color: var(--fine); }
.todo { color: var(--soft); }
.cards { list-style: none; padding: 0; margin: 1rem 0 0; display: grid; gap: .75rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.cards.plain { display: block; }
.cards li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
.cards.plain li { padding: .4rem .75rem; margin-bottom: .4rem; }
.cards li.of-2 { grid-column: span 2; }
.cards li.of-3 { grid-column: 1 / -1; }
.cards p { margin: 0 0 .5rem; font-size: .9rem; }
.cards.plain p { margin: 0; }
.pictures { display: flex; gap: .75rem; flex-wrap: wrap; }
figure { margin: 0; flex: 1 1 0; min-width: 7rem; max-width: 100%; }
img { display: block; max-width: 100%; height: auto; border-radius: .25rem; }
figure img, .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--paper); }
.of-3 figure { flex: 0 0 9rem; }
.none { display: flex; align-items: center; justify-content: center; padding: .5rem; text-align: center;
  color: var(--soft); border: 1px dashed var(--line); border-radius: .25rem; font-size: .85rem; }
figcaption { font-size: .8rem; color: var(--soft); margin-top: .35rem; }
figcaption span { display: block; }
figcaption .name { color: var(--ink); }
.rest { color: var(--soft); }
@media (max-width: 40rem) {
  thead { position: absolute; left: -99rem; }
  tr { display: grid; grid-template-columns: 1fr auto; border-bottom: 1px solid var(--line); padding: .5rem 0; }
  tr > * { border: 0; padding: 0 .5rem .15rem 0; }
  tr > :last-child { grid-column: 1 / -1; }
  .cards { grid-template-columns: 1fr 1fr; }
}
"""
