"""Texts of the command line as the values that Python takes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from .errors import ConfigError

FLAGS = ("no_header", "allow_leaks", "compile", "grad_checkpointing", "scale_lr", "zero_gamma")


def joined(arguments: Sequence[str]) -> list[str]:
    """Lets `--mean` and `--std` take several numbers in a row, as one value with commas."""
    out: list[str] = []
    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?,?$", re.IGNORECASE)
    taking = False
    for argument in arguments:
        if taking and number.match(argument) and number.match(out[-1].rsplit(",", 1)[-1] or "0"):
            out[-1] = f"{out[-1].rstrip(',')},{argument.rstrip(',')}"
            continue
        taking = argument in ("--mean", "--std") or (taking and bool(out) and out[-1] in ("--mean", "--std"))
        out.append(argument)
    return out


def parsed(words: dict[str, Any]) -> dict[str, Any]:
    """Texts of the command line as the values that Python takes."""
    out = dict(words)
    for name in ("mean", "std"):
        if isinstance(out.get(name), str):
            out[name] = _numbers(name, out[name])
    if out.get("backbone_arg"):
        out["backbone_arg"] = dict(_pair(text) for text in out["backbone_arg"])
    elif "backbone_arg" in out:
        out["backbone_arg"] = None
    if isinstance(out.get("devices"), str) and out["devices"].isdigit():
        out["devices"] = int(out["devices"])
    if isinstance(out.get("class_weight"), str) and "=" in out["class_weight"]:
        pairs = dict(_pair(text) for text in out["class_weight"].split(","))
        out["class_weight"] = pairs
    for name in ("lr", "batch_size"):
        if isinstance(out.get(name), str) and out[name] != "auto":
            out[name] = _number(name, out[name], float if name == "lr" else int)
    if isinstance(out.get("sizes"), str):
        out["sizes"] = tuple(_number("sizes", part, int) for part in out["sizes"].split(","))
    if isinstance(out.get("milestones"), str):
        out["milestones"] = tuple(_number("milestones", part, float) for part in out["milestones"].split(","))
    for name in ("scale", "by", "log"):
        if isinstance(out.get(name), str):
            out[name] = tuple(out[name].split(","))
    out |= {flag: None for flag in FLAGS if out.get(flag) is False}
    return out


def shares(texts: Sequence[str]) -> dict[str, float]:
    """Names with a number each: "melanoma=0.02,nevus=0.9".

    Raises:
        ConfigError: A text that is no such list.
    """
    found = [_pair(text) for several in texts for text in several.split(",")]
    odd = [name for name, value in found if isinstance(value, bool) or not isinstance(value, int | float)]
    if odd:
        raise ConfigError(f"--prior takes a share of each class: melanoma=0.02. Got no number for {odd[0]}.")
    return {name: float(value) for name, value in found}


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f'--{name.replace("_", "-")} takes {what}. Got "{text}".') from None


def _numbers(name: str, text: str) -> float | tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f'--{name} takes one number, or one a channel: --{name} 0.5, --{name} 0.485,0.456,0.406. Got "{text}".'
        ) from None
    return values[0] if len(values) == 1 else values


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f'Expected NAME=VALUE, pad_type=same say. Got "{text}".')
    try:
        return name, json.loads(value)
    except ValueError:
        named = {"true": True, "false": False, "none": None}
        return name, named.get(value.lower(), value)
