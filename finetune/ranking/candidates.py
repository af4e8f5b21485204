"""What is to be ranked: options and backbones, checked together before any file is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, WeightsError, nearest
from ..features import device_for
from ..models.backbones import resolve
from ..models.licenses import allows, check_license, license_of
from ..models.options import Backbone
from ..models.spelled import read_backbones, spell_differences
from ..recipe import WORDS, Recipe, recipe_from
from ..report.ranked import NOT_STATED
from .ranking import check_out

T = TypeVar("T")

OF_SOURCE = tuple(word for word, (room, _) in WORDS.items() if room == "data" and word not in ("folds", "allow_leaks"))

TRIED = (
    "timm/mobilenetv3_small_100.lamb_in1k",
    "timm/mobilenetv4_conv_small.e2400_r224_in1k",
    "timm/resnet18.a1_in1k",
    "timm/efficientnet_b0.ra_in1k",
    "torchvision/mobilenet_v3_large",
    "timm/resnet50.a1_in1k",
    "timm/convnextv2_nano.fcmae_ft_in22k_in1k",
    "timm/vit_small_patch14_dinov2.lvd142m:input_size=224",
    "timm/swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
    "timm/convnext_tiny.in12k_ft_in1k",
    "timm/vit_base_patch16_clip_224.openai",
)
"""Names that a person would try, from 1.5 to 86 million parameters: convolutions and transformers, of classes, of
pictures alone and of pictures with their captions, under several licences."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backbone to try.

    Args:
        backbone: What was asked for.
        name: What it is called; no other one is called so.
        license: Under which it is published; None where nothing is stated.
    """

    backbone: Backbone
    name: str
    license: str | None


def settle_ranking(
    source: Any,
    options: Mapping[str, Any],
    backbones: str | Backbone | Sequence[str | Backbone] | None,
    *,
    license: str | None,
    most: int,
    accelerator: str,
    out: str | Path | None = None,
) -> tuple[Recipe, list[Candidate], list[str]]:
    """What the options of a ranking say, all of them checked; no picture and no table is opened.

    Args:
        source: The examples.
        options: Words of the source, the task and the metric, and the seed.
        backbones: What was asked for; None for `TRIED`.
        license: As for `check_license`.
        most: How many examples.
        accelerator: Where to compute.
        out: The file for the ranking.

    Returns:
        The recipe, the backbones to try, and a note on those that a licence leaves out.

    Raises:
        ConfigError: All that is wrong.
    """
    wrong: list[str] = []
    known = (*OF_SOURCE, "task", "monitor", "seed")
    strange = [name for name in options if name not in known]
    if strange:
        all_known = ", ".join(known)
        wrong.append(f"rank takes no {', '.join(strange)}. Expected some of {all_known}.{nearest(strange[0], known)}")
    words = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    recipe = _or_told(wrong, lambda: recipe_from(source, {name: words[name] for name in known if name in words}))
    if recipe is not None:
        _or_told(wrong, recipe.check)
    _or_told(wrong, lambda: device_for(accelerator))
    if most < 4:
        wrong.append(f"most must be 4 or more: two examples of two classes. Got {most}.")
    asked = TRIED if backbones is None else [backbones] if isinstance(backbones, str | Backbone) else backbones
    named, ids = _named(asked, wrong)
    wrong += [told for told in (check_license(license), None if out is None else check_out(out)) if told]
    if wrong or recipe is None:
        raise ConfigError("\n".join(wrong))
    return recipe, *_allowed(named, ids, license)


def _or_told(wrong: list[str], make: Callable[[], T]) -> T | None:
    """What `make` makes, or None and a line in `wrong`."""
    try:
        return make()
    except ConfigError as error:
        wrong.append(str(error))
        return None


def _named(asked: Sequence[str | Backbone], wrong: list[str]) -> tuple[list[Backbone], list[str]]:
    """The backbones, each once, and their ids."""
    found: list[Backbone] = []
    for one in asked:
        read = [one] if isinstance(one, Backbone) else _or_told(wrong, partial(read_backbones, [one]))
        for backbone in read or ():
            if backbone not in found:
                found.append(backbone)
        if read == []:
            wrong.append("No backbone was named. Expected one of `finetune backbones` at least, resnet50 say.")
    if not asked:
        wrong.append("No backbone was named. Expected one of `finetune backbones` at least, resnet50 say.")
    ids = []
    for backbone in found:
        resolved = _or_told(wrong, partial(resolve, backbone))
        ids.append(resolved.id if resolved is not None else backbone.name)
        if backbone.weights not in ("default", "none") and not Path(backbone.weights).exists():
            wrong.append(
                f'There is no weights file "{backbone.weights}" for {backbone.name}. Expected a .safetensors, .pth or '
                '.pt file, or the folder of a saved model; "default" downloads, "none" takes random numbers.'
            )
    return found, ids


def _allowed(named: list[Backbone], ids: list[str], license: str | None) -> tuple[list[Candidate], list[str]]:
    """The backbones whose licence is among those that are wished for, and a note on the others.

    Raises:
        ConfigError: None is.
    """
    candidates = []
    for backbone, name in zip(named, spell_differences(named, ids), strict=True):
        try:
            own = license_of(backbone)
        except WeightsError:  # a folder that is damaged is a row with that reason
            own = None
        candidates.append(Candidate(backbone=backbone, name=name, license=own))
    kept = [one for one in candidates if allows(license, one.license)]
    left = [f"{one.name} ({one.license or NOT_STATED})" for one in candidates if one not in kept]
    if not kept:
        raise ConfigError(
            f"No backbone is left under the licence {license}: {', '.join(left)}. Name others: "
            f"`finetune backbones --license {license}` lists them."
        )
    return kept, [f"Left out by their licence: {', '.join(left)}."] if left else []
