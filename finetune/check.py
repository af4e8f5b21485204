"""A check of somebody's data, in the order in which it happens."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .checkup import Checkup, unlabelled
from .data.addresses import printable
from .data.agreement import copies, groups, labels, leaks, refused, shortcuts, targets
from .data.bare import bare_pictures
from .data.checks import of_files
from .data.copies import known_copies
from .data.examples import Examples, read_examples
from .data.facts import facts_of
from .data.families import families
from .data.findings import Finding, by_severity
from .data.headers import Header, read_headers
from .data.labels import Labels
from .data.leaks import PairLike, find_leaks
from .data.looks import Looks, Onlooker
from .data.options import Data
from .data.policies import policy
from .data.shortcuts import Shortcut, find_shortcuts
from .data.suspects import FEWEST, Suspect, find_suspects, unlikely
from .errors import ConfigError, DataError, WeightsError, nearest
from .features import Values, device_for, features, pooled
from .models.network import Network
from .recipe import WORDS, Recipe, TaskOptions, recipe_from
from .report.printed import Talk
from .tasks.options import Classify, Regress, Tag
from .training.audit import held_out_answers
from .types import ImageSpec

if TYPE_CHECKING:
    from rich.console import Console

OF_BACKBONE = ("backbone_arg", "weights", "in_chans", "mean", "std", "input_size")
OF_SOURCE = tuple(word for word, (room, _) in WORDS.items() if room == "data")
TOO_FEW = "There are too few examples, copies and groups counted once:"
NO_BACKBONE = "No backbone was named; --backbone resnet50, say, judges each answer by what the network sees."


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one reading of all pictures gave: N examples.

    Args:
        examples: The table.
        headers: Of the N files.
        looks: Of the N pictures.
        known: The features of those that could be read; None without a network.
        why_not: Why there are none.
        pairs: Copies of one picture.
    """

    examples: Examples
    headers: Sequence[Header]
    looks: Looks
    known: Values | None
    why_not: str
    pairs: Sequence[PairLike]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the answers of the examples have to say: findings, and what they rest on."""

    findings: Sequence[Finding] = ()
    suspects: Sequence[Suspect] = ()
    shortcuts: Sequence[Shortcut] = ()


def check(
    source: Any,
    *,
    backbone: str | None = None,
    labelled: bool = True,
    augment: str | None = None,
    batch_size: int = 32,
    accelerator: str = "auto",
    seed: int = 0,
    verbose: bool | Console = False,
    **options: Any,
) -> Checkup:
    """Looks for what is wrong with examples: files, pictures, copies, leaks, labels, shortcuts. Changes nothing.

    Args:
        source: As for `fit`; also a folder of pictures without labels.
        backbone: A pretrained network by whose features labels are judged and more copies are found; without one both
            are left out. Where only weights, mean, std or input_size are given, it is resnet50.
        labelled: Whether there are answers; False looks at the files and pictures of a folder alone.
        augment: A policy, "light" say, of which the page shows what training makes of some pictures; None for none.
        batch_size: Pictures at a time for the backbone.
        accelerator: "auto", "cpu", "gpu", ...
        seed: Seeds folds and intervals: one seed, one result.
        verbose: Prints progress; a rich Console says where.
        options: Those of `fit` that say how to read the source (image, target, group, ...), what the target is (task),
            and what the backbone is (weights, mean, std, input_size, in_chans, backbone_arg).

    Returns:
        The findings, which can be written as a page and as a cleaned table.

    Raises:
        ConfigError: Options that cannot be right.
        DataError: A source that cannot be read at all.
        WeightsError: Weights that were named and cannot be had or do not fit.
    """
    from rich.console import Console

    # Options and the network first: nothing below may fail for a reason that could have been told before.
    recipe = _recipe(source, {**options, "backbone": backbone}, seed)
    device = device_for(accelerator)
    if augment is not None:
        policy(augment)  # refuses a name that there is not
    wanted = backbone is not None or any(options.get(name) is not None for name in OF_BACKBONE)
    network, why_not = _network(recipe) if wanted else (None, NO_BACKBONE)
    talk = Talk(Console() if verbose is True else verbose or None)

    # The examples as they are listed, and whether a fit would take them.
    examples, reason = _examples(recipe.data, labelled)

    # Every picture is read once, for its features where there is a network, and for what it looks like.
    headers = read_headers(examples)
    in_chans = network.spec.in_chans if network else recipe.model.in_chans or 3
    onlooker = Onlooker(examples, in_chans=in_chans)
    known: Values | None = None
    if network is not None:
        with talk.bar("features", len(examples)) as moved:
            known = features(network, examples, batch_size=batch_size, device=device, progress=moved, also=onlooker)
    with talk.bar("reading pictures", len(examples)) as moved:
        looks = onlooker.looks(errors=known.errors if known else None, progress=moved)

    # What is there twice, and on which sides of the given parts.
    talk.say("looking for copies")
    pairs = known_copies(examples, looks, features=None if known is None else _every_row(known, len(examples)),
                         in_chans=in_chans)  # fmt: skip
    found = find_leaks(examples, np.array([part or "" for part in examples.table["split"]]), pairs)
    root = source if isinstance(source, str | Path) and Path(source).is_dir() else None
    findings = [*of_files(examples, headers, looks, root)]

    # What the answers say of each other, and what gives them away.
    if unlabelled(examples):
        findings += [_no_answers(reason), *copies(examples, pairs)[1:]]
        said = Said()
    else:
        findings += [refused(reason), *targets(examples), groups(examples), *copies(examples, pairs)]
        findings.append(leaks(examples, found))
        talk.say("judging answers")
        seen = Seen(examples=examples, headers=headers, looks=looks, known=known, why_not=why_not, pairs=pairs)
        said = _said(seen, recipe, seed)
    sheet = None
    if augment is not None:
        sheet, drawn = _sheet(examples, network, augment, seed)
        findings.append(drawn)
    return Checkup(
        source=_name(source), findings=tuple(by_severity([*findings, *said.findings])), examples=examples,
        pairs=tuple(pairs), leaks=tuple(found), suspects=tuple(said.suspects), shortcuts=tuple(said.shortcuts),
        looks=looks, notes=examples.notes, seed=seed,
        sheet=sheet,
    )  # fmt: skip


def _recipe(source: Any, words: Mapping[str, Any], seed: int) -> Recipe:
    known = (*OF_SOURCE, *OF_BACKBONE, "backbone", "task")
    strange = [name for name in words if name not in known]
    if strange:
        raise ConfigError(
            f"check takes no {', '.join(strange)}. Expected some of {', '.join(known)}.{nearest(strange[0], known)}"
        )
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in words.items()}
    recipe = recipe_from(source, {**frozen, "seed": seed})
    if words["backbone"] is not None:
        recipe.check()
    return recipe


def _network(recipe: Recipe) -> tuple[Network | None, str]:
    """The network, or why there is none: weights that cannot be downloaded leave all other checks as they are."""
    try:
        return recipe.model.build(1), ""
    except WeightsError as error:
        if recipe.model.weights != "default":
            raise
        return None, f"The backbone cannot be had. {error}"


def _examples(data: Data, labelled: bool) -> tuple[Examples, str | None]:
    """The examples, and why a fit would refuse them; a check goes on with whatever can be listed."""
    if not labelled:
        return _bare(data), None
    try:
        return read_examples(data), None
    except DataError as error:
        reason = str(error)
    try:
        return read_examples(data, for_training=False), reason
    except DataError:
        flat = isinstance(data.source, str | Path) and Path(data.source).is_dir() and not data.label_from
        bare = _bare(data) if flat else None
        if bare is None or any("/" in name for name in bare.table["id"]):
            raise
        return bare, reason


def _bare(data: Data) -> Examples:
    """The pictures of a folder, without answers."""
    if not isinstance(data.source, str | Path) or not Path(data.source).is_dir():
        raise ConfigError(f"Only a folder can be checked without answers. Got {_name(data.source)}.")
    return bare_pictures(data.source)


def _no_answers(reason: str | None) -> Finding:
    said = "The pictures carry no answers: files and pictures alone were checked."
    return Finding(what="usable", severity="not checked", sentence=said, todo=reason or "")


def _said(seen: Seen, recipe: Recipe, seed: int) -> Said:
    """Suspects and shortcuts, from the pictures that can be read."""
    rows = np.flatnonzero(seen.looks.read)
    readable = seen.examples.take(rows)
    place = {row: number for number, row in enumerate(rows.tolist())}
    links = [(place[pair.first], place[pair.second]) for pair in seen.pairs]
    # A copy of a picture, or a second one of its patient, would answer for it.
    units = families(list(readable.table["group"]), links)
    kind = readable.kind
    suspects, audited, why_not = None, 0, seen.why_not
    if seen.known is not None:
        suspects, audited, why_not = _audit(readable, seen.known.at(rows), units, seed)
    own = [replace(suspect, row=int(rows[suspect.row])) for suspect in suspects or ()]
    telling = _shortcuts(seen, rows, readable, units, recipe.data.label_from, seed)
    few = "" if telling else f"{TOO_FEW} {2 * FEWEST} of two classes are needed to tell."
    return Said(
        findings=(labels(kind, None if suspects is None else own, why_not, audited), shortcuts(kind, telling, few)),
        suspects=own, shortcuts=telling,
    )  # fmt: skip


def _audit(
    examples: Examples, values: np.ndarray, units: Sequence[str | None], seed: int
) -> tuple[list[Suspect] | None, int, str]:
    """Suspects among the classes that have enough examples; how many examples were judged; why none, where none."""
    rows = list(range(len(examples)))
    if examples.kind == "class":
        sizes = examples.table["target"].value_counts()
        rows = [row for row, target in enumerate(examples.targets) if sizes[target] >= FEWEST]
    few = f"{TOO_FEW} {FEWEST} of two classes are needed to hold some out."
    if len({str(examples.targets[row]) for row in rows}) < 2:
        return None, 0, few
    judged = examples.take(rows)
    encoder = Labels.from_targets(judged.kind, judged.targets)
    given = encoder.encode(judged.targets)
    options: dict[str, TaskOptions] = {"class": Classify(), "labels": Tag(), "number": Regress(loss="huber")}
    task = options[judged.kind].build(encoder, judged.targets)
    answer = held_out_answers(
        pooled(values[rows]), given, task, groups=[units[row] for row in rows], seed=seed,
        unlikely=lambda answer: unlikely(judged.kind, answer, given),
    )  # fmt: skip
    if answer is None:
        return None, 0, few
    found = find_suspects(judged.kind, encoder.names, answer, given)
    return [replace(suspect, row=rows[suspect.row]) for suspect in found], len(rows), ""


def _every_row(known: Values, count: int) -> np.ndarray:
    """(N, D) features with zeros for pictures that could not be read."""
    if not len(known.rows):
        return np.zeros((count, 1), np.float32)
    out = np.zeros((count, known.values.shape[1]), np.float32)
    out[known.rows] = pooled(known.values)
    return out


def _shortcuts(
    seen: Seen, rows: np.ndarray, readable: Examples, units: Sequence[str | None], label_from: str | None, seed: int
) -> list[Shortcut]:
    if not len(readable):
        return []
    light = {name: getattr(seen.looks, name)[rows] for name in ("brightness", "contrast", "sharpness")}
    facts = facts_of(readable, [seen.headers[row] for row in rows], light, label_from=label_from)
    encoder = Labels.from_targets(readable.kind, readable.targets)
    given = encoder.encode(readable.targets)
    return find_shortcuts(facts, readable.kind, encoder.names, given, groups=units, seed=seed)


def _sheet(
    examples: Examples, network: Network | None, augment: str, seed: int
) -> tuple[bytes | None, Finding]:  # fmt: skip
    """A page of pictures as training would vary them, as a JPEG, and what is said of it."""
    from PIL import Image

    from .data.sheet import augmentation_sheet

    spec = network.spec if network else ImageSpec(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.png"
        try:
            augmentation_sheet(examples, spec, augment, path=path, rows=4, count=5, seed=seed)
        except DataError as error:
            return None, Finding(what="augmentation", severity="not checked", sentence=str(error))
        file = io.BytesIO()
        Image.open(path).convert("RGB").save(file, "JPEG", quality=80)
    return file.getvalue(), Finding(what="augmentation", severity="fine", sentence=f'Drawn below: "{augment}".')


def _name(source: Any) -> str:
    return printable(str(source)) if isinstance(source, str | Path) else f"a {type(source).__name__} in memory"
