"""What a search may vary, as values: words of `fit` with their ranges and choices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, nearest
from ..recipe import TASK_OF_LOSS, WORDS, Recipe, recipe_from
from ..training.methods import METHODS

# The data stay as they are, or trials could not be compared; a seed that is searched for is luck.
NOT_SEARCHED = {"task", "seed", "monitor", "time", "accelerator", "devices", "num_nodes", "strategy", "precision",
                "workers", "cache", "backbone_arg", "compile", "grad_checkpointing", "in_chans", "mean", "std",
                "sizes", "teacher", "milestones", "scale_lr", "zero_gamma", "log", "reference_batch", "taxonomy",
                "max_class_size"}  # fmt: skip
SEARCHED = tuple(word for word, (room, _) in WORDS.items() if room != "data" and word not in NOT_SEARCHED)
LOG = ("lr", "weight_decay", "lora_alpha")  # where a factor means as much at either end
WHOLE = ("epochs", "steps", "head_epochs", "patience", "lora_rank", "batch_size", "accumulate", "effective_batch",
         "views", "soup", "hidden", "input_size")  # fmt: skip
FIRST = ("method", "backbone", "head", "loss")  # on which it depends whether others mean anything
OF_METHODS = {"stage": ("surgical",), "teacher_weight": ("distill",), "temperature": ("distill",),
              "lora_rank": ("lora",), "lora_alpha": ("lora",), "head_epochs": ("head-then-full",)}  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    @property
    def edges(self) -> tuple[Any, ...]:
        """All that is worth a check."""
        return self.values

    def holds(self, value: Any) -> bool:
        """Whether this value may come."""
        return value in self.values


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`.

    Args:
        low: The least.
        high: The largest.
        log: Whether each factor is as likely as another, and not each difference.
        whole: Whether it has no fraction.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def edges(self) -> tuple[Any, ...]:
        """All that is worth a check."""
        return (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether this value may come."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Space = dict[str, Choices | Range]


def usual_space(options: Mapping[str, Any]) -> Space:
    """What is searched where nobody says: the method, and what decides how far and how fast it moves.

    Args:
        options: Words that are fixed, of which none is searched.
    """
    random = options.get("weights") == "none"
    space: Space = {
        "method": Choices(("full",) if random else ("probe", "lp-ft", "full")),
        "lr": Range(3e-4, 1e-1, log=True),
        "layer_decay": Range(0.65, 1.0),
        "epochs": Range(3, 12, whole=True),
        "views": Choices((0, 4)),
        "augment": Choices(("light", "standard", "strong")),
        "mixup": Choices((0.0, 0.2, 0.4)),
    }
    if options.get("task") == "embed" or TASK_OF_LOSS.get(str(options.get("loss"))) == "embed":
        # Of points there is no probe, and nothing to mix; adamw moves them.
        space |= {"method": Choices(("full",) if random else ("head-then-full", "full")),
                  "lr": Range(1e-5, 1e-2, log=True)}  # fmt: skip
        del space["views"], space["mixup"]
    lengths = ("epochs", "steps")
    fixed = {word for word in space if options.get(word) is not None}
    fixed |= {"epochs"} if any(options.get(word) is not None for word in lengths) else set()
    return {word: values for word, values in space.items() if word not in fixed}


def space_from(given: Mapping[str, Any], options: Mapping[str, Any]) -> Space:
    """The usual space with what somebody says in place of it.

    Args:
        given: A word's range as a tuple (low, high), or its choices as a list.
        options: Words that are fixed.

    Raises:
        ConfigError: All that is wrong, at once.
    """
    wrong: list[str] = []
    said: Space = {}
    for word, values in given.items():
        if word not in SEARCHED:
            known = "Its value is the same in all trials" if word in WORDS else "There is no such option"
            wrong.append(f"{word} cannot be searched. {known}.{nearest(word, SEARCHED)}")
        elif options.get(word) is not None:
            wrong.append(f"{word} is to be {options[word]} and to be searched. Expected one of both.")
        else:
            made = _one(word, values, wrong)
            if made is not None:
                said[word] = made
    if wrong:
        raise ConfigError("\n".join(wrong))
    usual = usual_space(options)
    if "steps" in said:
        usual.pop("epochs", None)
    space = {**usual, **said}
    first = [word for word in FIRST if word in space]
    return {word: space[word] for word in [*first, *(word for word in space if word not in first)]}


def _one(word: str, values: Any, wrong: list[str]) -> Choices | Range | None:
    if isinstance(values, tuple) and len(values) == 2 and all(type(v) in (int, float) for v in values):
        low, high = values
        log, whole = word in LOG and low > 0, word in WHOLE
        if low >= high or not all(map(math.isfinite, values)):
            wrong.append(f"The range of {word} goes from low to high. Got {low}..{high}.")
        elif whole and (low != int(low) or high != int(high)):
            wrong.append(f"{word} is a whole number. Got {low}..{high}.")
        else:
            return Range(int(low), int(high), log, True) if whole else Range(float(low), float(high), log)
        return None
    if isinstance(values, list) and values and all(isinstance(v, str | bool | int | float) for v in values):
        return Choices(tuple(values))
    wrong.append(f"{word} takes a range (low, high), or a list of choices that are texts or numbers. Got {values!r}.")
    return None


def parsed_space(texts: Sequence[str]) -> dict[str, Any]:
    """What the command line says: lr=1e-4..1e-1 is a range, method=probe,lp-ft are choices.

    Raises:
        ConfigError: A text of neither form, or a word twice.
    """
    found: dict[str, Any] = {}
    wrong = []
    for text in texts:
        word, equals, values = text.partition("=")
        word = word.strip().replace("-", "_")
        low, dots, high = values.partition("..")
        ends = (_value(low), _value(high))
        if not equals or not values or (dots and not all(type(end) in (int, float) for end in ends)):
            wrong.append(f'--search takes NAME=LOW..HIGH or NAME=ONE,OTHER: lr=1e-4..1e-1 say. Got "{text}".')
        elif word in found:
            wrong.append(f"--search names {word} twice. Expected one range, or all choices together.")
        else:
            found[word] = ends if dots else [_value(part) for part in values.split(",")]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


def _value(text: str) -> Any:
    try:
        value = json.loads(text.strip())
    except ValueError:
        return text.strip()
    return value if isinstance(value, bool | int | float) else text.strip()


def applies(word: str, chosen: Mapping[str, Any]) -> bool:
    """Whether a word means anything beside the values of others.

    Args:
        word: One of `SEARCHED`.
        chosen: Method, head and loss, as far as they are known.
    """
    method = chosen.get("method") or "auto"
    if word == "hidden":
        return chosen.get("head") == "mlp"
    if word == "focal_gamma":
        return chosen.get("loss") == "focal"
    if word == "views":
        return method == "auto" or METHODS[method].probes
    if word in OF_METHODS:
        return method in OF_METHODS[word]
    return method != "probe" or (word != "dropout" and (word == "method" or WORDS[word][0] != "plan"))


def together(options: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a trial; where its method was searched, a fixed option counts if that method uses it.

    Args:
        options: Words that are fixed.
        chosen: Those of the trial.
    """
    said = {**options, **chosen}
    kept = {word: v for word, v in options.items() if word not in SEARCHED or applies(word, said)}
    return {**(kept if "method" in chosen else options), **chosen}


def check_space(
    source: Any, options: Mapping[str, Any], space: Space, start: Recipe | None, asked: Sequence[str]
) -> None:
    """Tries the edges of a space as recipes; nothing is read.

    Args:
        source: The examples.
        options: Words that are fixed.
        space: What is searched.
        start: A recipe whose values hold where no word says otherwise.
        asked: The words that somebody named.

    Raises:
        ConfigError: All that cannot be right anywhere in the space, at once.
    """
    wrong: dict[str, None] = {}
    fixed = {"method": start.plan.method} if start is not None else {}
    fixed |= {word: value for word, value in options.items() if value is not None}
    unknown = [m for m in _edges(space, "method", fixed) if m not in ("auto", *METHODS)]
    applied: set[str] = set()
    for method in _edges(space, "method", fixed):
        if method in unknown:
            wrong.setdefault(
                f'Unknown method "{method}". Expected one of {", ".join(METHODS)}.{nearest(method, METHODS)}'
            )
            continue
        for other in [None, *(word for word in space if word != "method")]:
            for value in _edges(space, other, {}) if other is not None else (None,):
                chosen = {**fixed, "method": method} | ({other: value} if other is not None else {})
                if other is not None and other not in FIRST and not applies(other, _mostly(space, chosen)):
                    continue
                applied |= {other} if other is not None else set()
                needs = {"head": "mlp"} if other == "hidden" else {"loss": "focal"} if other == "focal_gamma" else {}
                words = {**needs, "method": method} | ({other: value} if other is not None else {})
                _try(source, together(options, words), start, wrong)
    for word in asked:
        if word != "method" and word not in applied and not wrong:
            wrong.setdefault(f"{word} would do nothing in any trial: no method that is tried uses it. Leave it out.")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _mostly(space: Space, chosen: dict[str, Any]) -> dict[str, Any]:
    """The values under which a word means most."""
    more = {word: value for word, value in (("head", "mlp"), ("loss", "focal"))
            if word in space and space[word].holds(value)}  # fmt: skip
    return {**chosen, **more}


def _edges(space: Space, word: str, fixed: Mapping[str, Any]) -> tuple[Any, ...]:
    return space[word].edges if word in space else (fixed.get(word, "auto"),)


def _try(source: Any, words: Mapping[str, Any], start: Recipe | None, wrong: dict[str, None]) -> None:
    try:
        recipe_from(source, words, start).check()
    except ConfigError as error:
        wrong.update(dict.fromkeys(str(error).splitlines()))
