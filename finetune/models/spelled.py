"""Backbones in one word each: `resnet50`, `torchvision/mobilenet_v2=weights.pth:mean=0.5:std=0.5`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import ConfigError, nearest
from .options import Backbone

ARGUMENT = "arg."
"""Stands before what is passed through to the network's constructor: `arg.pad_type=same`."""

_NUMBERS = ("mean", "std")
_WHOLE = ("input_size", "in_chans")
_WORDS = (*_NUMBERS, *_WHOLE, "crop")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)


def read_backbones(texts: Iterable[str]) -> list[Backbone]:
    """Reads backbones that are written as `NAME[=WEIGHTS][:WORD=VALUE...]`, several in one text with commas between.

    WEIGHTS is a file, a folder, "none" or "default"; a WORD is one of `Backbone`'s fields (mean, std, input_size,
    in_chans, crop) or arg.NAME for an argument of the constructor. Numbers behind a comma belong to what is before it:
    `a:mean=0.5,0.4,0.3,b` names two backbones. A path with a comma in it can be given from Python, as a `Backbone`.

    Args:
        texts: As a person wrote them.

    Raises:
        ConfigError: All that is wrong with them.
    """
    wrong: list[str] = []
    found = []
    for word in _words(texts):
        try:
            found.append(read_backbone(word))
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


def read_backbone(text: str) -> Backbone:
    """Reads one backbone; see `read_backbones`.

    >>> read_backbone("timm/mobilenetv2_100=w.safetensors:mean=0.5:arg.pad_type=same").args
    {'pad_type': 'same'}

    Raises:
        ConfigError: All that is wrong with it.
    """
    # Only a word and "=" behind a colon ends a path, so that drives and addresses keep theirs.
    first, *pieces = re.split(r":(?=[A-Za-z_][\w.]*=)", text)
    name, _, weights = first.partition("=")
    fields: dict[str, Any] = {"weights": weights} if weights else {}
    args: dict[str, Any] = {}
    wrong = []
    for piece in pieces:
        word, _, value = piece.partition("=")
        try:
            if word.startswith(ARGUMENT):
                args[word.removeprefix(ARGUMENT)] = _plain(value)
            else:
                fields[word] = _value(word, value)
        except ConfigError as error:
            wrong.append(str(error))
    try:
        # What is wrong with these is told beside what cannot even be read.
        backbone = Backbone(name, args=args, **fields)
    except ConfigError as error:
        wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(f'In "{text}": {line}' for line in "\n".join(wrong).splitlines()))
    return backbone


def spell_differences(backbones: Sequence[Backbone], ids: Sequence[str]) -> list[str]:
    """A name for each backbone that no other one has: its id, and in what it differs from others of that id.

    Args:
        backbones: Which they are.
        ids: What each is called.
    """
    said = [_changes(backbone) for backbone in backbones]
    names = []
    for id, own in zip(ids, said, strict=True):
        same = [other for other, called in zip(said, ids, strict=True) if called == id]
        names.append(":".join([id, *(text for text in own if not all(text in other for other in same))]))
    return [f"{name} ({names[:place].count(name) + 1})" if names.count(name) > 1 else name
            for place, name in enumerate(names)]  # fmt: skip


def _changes(backbone: Backbone) -> list[str]:
    """What is changed about a backbone, as it is written."""
    weights = None if backbone.weights == "default" else re.split(r"[/\\]", backbone.weights)[-1]
    values = {"weights": weights, **{word: getattr(backbone, word) for word in _WORDS}}
    values |= {f"{ARGUMENT}{name}": value for name, value in backbone.args.items()}
    return [f"{word}={_said(value)}" for word, value in values.items() if value is not None]


def _words(texts: Iterable[str]) -> list[str]:
    words: list[str] = []
    for text in texts:
        for place, piece in enumerate(text.split(",")):
            if place and words and _NUMBER.match(piece.strip()):
                words[-1] += f",{piece.strip()}"
            elif piece.strip():
                words.append(piece.strip())
    return words


def _value(word: str, text: str) -> Any:
    if word not in _WORDS:
        raise ConfigError(
            f'There is no "{word}". Expected {", ".join(_WORDS)}, or {ARGUMENT}NAME for an argument of the '
            f"network's constructor.{nearest(word, _WORDS)}"
        )
    if word == "crop":
        return text
    parts = text.split(",")
    try:
        if word in _WHOLE:
            return int(text)
        values = tuple(float(part) for part in parts)
    except ValueError:
        kind = "a whole number" if word in _WHOLE else "one number, or one a channel with commas"
        raise ConfigError(f'{word} takes {kind}. Got "{text}".') from None
    return values[0] if len(values) == 1 else values


def _plain(text: str) -> Any:
    """JSON's values, and text for all else."""
    try:
        return json.loads(text)
    except ValueError:
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _said(value: Any) -> str:
    return ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value}"
