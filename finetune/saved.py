"""A model as one folder that the ecosystem reads: config.json and model.safetensors as on a hub, finetune.json beside.

finetune.json holds what those two cannot say: what the outputs mean, the preprocessing that was used, and where the
model comes from. Loading runs no code: safetensors and JSON, and kinds from fixed tables. sha256.json says how each
file was written, and nothing is read that is otherwise now.
"""

from __future__ import annotations

import copy
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from .data.labels import Labels
from .errors import ConfigError, RunFolderError, listing
from .files import write_tensors
from .folder import MODEL, read_json, write_json
from .manifest import MANIFEST, check, seal
from .models import native
from .models.ensemble import ensemble
from .models.network import Network
from .models.options import Backbone
from .recipe import HEADS, TASKS
from .remade import remade
from .tasks.base import Task
from .tasks.options import Classify, Tag
from .types import ImageSpec

FORMAT = 2
PACKAGES = (
    "finetune",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "albumentations",
    "scikit-learn",
    "pillow",
    "numpy",
)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A model read back.

    Args:
        network: With its weights, in evaluation mode.
        task: What its outputs mean.
        facts: All of finetune.json.
    """

    network: Network
    task: Task
    facts: dict[str, Any]


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def save(folder: Path, network: Network, task: Task, options: Any, facts: Mapping[str, Any]) -> None:
    """Writes a model.

    Args:
        folder: Is made where it does not exist.
        network: Its weights are copied to the CPU.
        task: What its outputs mean.
        options: The options the task was made from.
        facts: More to keep in finetune.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in (("model.safetensors", network.native_state()), ("head.safetensors", network.head_state())):
        if state is not None:
            write_tensors(folder / name, state)
    write_json(folder / "config.json", native.config(network, task.labels.names))
    _write_facts(folder, network, task, options, facts)


def save_ensemble(
    folder: Path, members: Sequence[Path], network: Network, task: Task, options: Any, facts: Mapping[str, Any]
) -> None:
    """Writes a model that averages others: theirs in folders of their runs' names, and a finetune.json of its own.

    Args:
        folder: Is made where it does not exist.
        members: Run folders, whose models are linked where the disk allows and copied where not.
        network: As from `as_one`.
        task: What its outputs mean.
        options: The options the members' tasks were made from.
        facts: More to keep in finetune.json.
    """
    for member in members:
        shutil.copytree(member / MODEL, folder / member.name, copy_function=_link)
    facts = {**facts, "ensemble": [member.name for member in members]}
    _write_facts(folder, network, task, options, facts)


def _link(source: str, target: str) -> None:
    # Files of a run are replaced and never written into, so that two names of one file are safe.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _write_facts(folder: Path, network: Network, task: Task, options: Any, facts: Mapping[str, Any]) -> None:
    """Writes finetune.json, and then what was written."""
    kind = next(name for name, cls in TASKS.items() if type(options) is cls)
    write_json(
        folder / "finetune.json",
        {
            "format": FORMAT,
            "labels": task.labels.to_dict(),
            "task": {"kind": kind, **asdict(options)},
            "preprocessing": network.spec.to_dict(),
            **facts,
            "versions": versions(),
        },
    )
    seal(folder)


def as_one(networks: Sequence[Network], tasks: Sequence[Task]) -> tuple[Network, Task]:
    """One network and task that answer with the mean of several answers: probabilities, or numbers.

    Args:
        networks: Of one architecture and one preprocessing; they are not copied.
        tasks: What the outputs of each mean; they differ at most in the mean and spread of a number.
    """
    labels = [task.labels for task in tasks]
    centers, scales = [one.center for one in labels], [one.scale for one in labels]
    mean = replace(labels[0], center=sum(centers) / len(centers), scale=sum(scales) / len(scales))
    return ensemble(networks, mean.kind, centers, scales).eval(), replace(tasks[0], labels=mean)


def load(path: str | Path, *, module: Any = None, recipe: str | Path | None = None) -> Saved:
    """Reads a model: a run folder, or the `model/` in one.

    Args:
        path: The folder.
        module: The network it was made from, for a model of `Backbone.from_module`.
        recipe: Or the recipe file that made that network.

    Raises:
        RunFolderError: It is missing, incomplete or damaged, or made by a newer version.
        WeightsError: Its weights do not fit its network.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunFolderError(f"There is no run folder {folder}. Expected one that `finetune fit --out` made.")
    folder = folder / MODEL if (folder / MODEL).is_dir() else folder
    if (folder / MANIFEST).exists() or (folder / "finetune.json").exists():
        check(folder)
    if recipe is not None:
        if module is not None:
            raise ConfigError("module and recipe both say which network the model has. Expected one of them.")
        module = remade(recipe, read_json(folder / "finetune.json").get("made_by"), folder)
    return _load(folder, module)


def _load(folder: Path, module: Any) -> Saved:
    """Reads the files of a folder that are as they were written."""
    facts = read_json(folder / "finetune.json")
    try:
        if facts["format"] != FORMAT:
            raise RunFolderError(
                f"{folder} is of format {facts['format']}; this version of finetune reads format {FORMAT}. "
                f"It was written by finetune {facts['versions']['finetune']}: install that version."
            )
        if "ensemble" in facts:
            return _load_members(folder, facts, module)
        heads = [folder / "head.safetensors"] if (folder / "head.safetensors").exists() else []
        states = {path.name: _read(path) for path in (folder / "model.safetensors", *heads)}
        task = task_of(facts, folder / "finetune.json")
        spec = ImageSpec.from_dict(facts["preprocessing"])
        state, head = states["model.safetensors"], dict(facts["backbone"]["head"])
        backbone = Backbone(
            facts["backbone"]["name"], weights="none", args=facts["backbone"]["args"],
            head=HEADS[head.pop("kind")](**head), module=module,
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / 'finetune.json'} is incomplete: {error}. Was it edited?") from error
    config = read_json(folder / "config.json")
    try:
        network = native.from_saved(config, backbone, spec, task.head_outputs, state, states.get("head.safetensors"))
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{folder / 'config.json'} is incomplete: {error}. Was it edited?") from error
    return Saved(network=network.eval(), task=task, facts=facts)


def task_of(facts: Mapping[str, Any], file: Path) -> Task:
    """What the outputs of a saved model mean, from its finetune.json alone.

    Args:
        facts: All of finetune.json.
        file: Where it was read, for the message.

    Raises:
        RunFolderError: It is incomplete.
    """
    try:
        labels = Labels.from_dict(facts["labels"])
        options = TASKS[facts["task"]["kind"]](**{k: v for k, v in facts["task"].items() if k != "kind"})
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{file} is incomplete: {error}. Was it edited?") from error
    # The weights of the loss are for training only; what they were made from is not needed to answer.
    if isinstance(options, Classify | Tag) and isinstance(options.class_weight, str):
        options = replace(options, class_weight=None)
    return options.build(labels, [])


def _load_members(folder: Path, facts: dict[str, Any], module: Any) -> Saved:
    names = facts["ensemble"]
    # A name is no path, and what is loaded is what was recorded.
    if not names or not all(n and Path(n).name == n != ".." and (folder / n).is_dir() for n in names):
        raise RunFolderError(
            f"{folder / 'finetune.json'} names members that are no folders beside it: {listing(names)}. "
            "Expected fold-1, fold-2 and so on. Copy the folder again from where it was made."
        )
    # A module would be shared by the members otherwise, and hold the weights of the last one.
    read = [_load(folder / name, copy.deepcopy(module)) for name in names]
    network, task = as_one([member.network for member in read], [member.task for member in read])
    return Saved(network=network, task=task, facts=facts)


def _read(path: Path) -> Any:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RunFolderError(f"{path} is missing. Expected the weights of the model; copy the whole folder.") from None
    except SafetensorError as error:
        raise RunFolderError(f"{path} is no safetensors file: {error}.") from error
