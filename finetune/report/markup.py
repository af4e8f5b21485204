"""What every page of ours is made of: one look for light and dark, wide and narrow, and nothing from elsewhere."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape


def document(title: str, header: str, body: str, *, skip: tuple[str, str], style: str = "") -> str:
    """A whole page.

    Args:
        title: Is escaped here; it is the heading too.
        header: HTML below the heading.
        body: HTML of the sections.
        skip: The id and the words of a link past the header, for those who use a keyboard.
        style: CSS beside that of every page.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<a class="skip" href="#{skip[0]}">{escape(skip[1])}</a>
<header>
<h1>{escape(title)}</h1>
{header}
</header>
<main>
{body}
</main>
</body>
</html>
"""


def badge(severity: str) -> str:
    """A word in the colour of what it means."""
    return f'<span class="badge {word(severity)}">{escape(severity)}</span>'


def word(text: str) -> str:
    """A text as a name for a class or an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def image(jpeg: bytes, alt: str, budget: list[int]) -> str:
    """The picture as part of the page, or nothing where the page would grow too large.

    Args:
        jpeg: The picture.
        alt: What it shows, in words.
        budget: Bytes that are left; becomes less.
    """
    text = base64.b64encode(jpeg).decode()
    if len(text) > budget[0]:
        return ""
    budget[0] -= len(text)
    return f'<img src="data:image/jpeg;base64,{text}" alt="{escape(alt)}">'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, named: str, words: bool = False) -> str:
    """A table that scrolls within itself where it is wider than the page; every text is escaped here.

    Args:
        head: The titles of its columns.
        rows: Their cells; the first of each is its name.
        named: What it shows, for those who do not see it.
        words: Whether its cells are words that go over several lines, rather than figures.
    """
    titles = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    kind = "figures words" if words else "figures"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(named)}"><table class="{kind}">\n'
        f"<thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table></div>"
    )


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
