"""What a check found: one shape for all checks, so that they can be listed, written and shown alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["must decide", "look", "fine", "not checked"]
SEVERITIES: tuple[Severity, ...] = ("must decide", "look", "fine", "not checked")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One case of a finding.

    Args:
        rows: The examples concerned: one, or those that belong together.
        text: What is to be said of them.
    """

    rows: tuple[int, ...]
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Args:
        what: What was checked.
        severity: "must decide" where training or its figures go wrong unless somebody decides; "look" where a person
            knows better than any rule; "fine" where there is nothing; "not checked".
        sentence: What was found, or that nothing was.
        todo: What to do about it; empty where there is nothing to do.
        items: The cases, the most telling first.
    """

    what: str
    severity: Severity
    sentence: str
    todo: str = ""
    items: tuple[Item, ...] = ()

    @property
    def rows(self) -> tuple[int, ...]:
        """Every example that is concerned, once, in the order of the items."""
        return tuple(dict.fromkeys(row for item in self.items for row in item.rows))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """The inverse of `to_dict`."""
        items = tuple(Item(rows=tuple(item["rows"]), text=item["text"]) for item in values["items"])
        return cls(**{**values, "items": items})


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """What must be decided first; checks of equal severity stay in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def answer_key(target: Any) -> str:
    """The same text for the same answer: several labels in whatever order."""
    return "|".join(sorted(target)) if isinstance(target, tuple) else str(target)


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 picture", "3 pictures"."""
    return f"{count} {one if count == 1 else many or one + 's'}"
