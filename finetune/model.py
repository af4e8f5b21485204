"""A fine-tuned model: what `fit` gives back and `load` reads."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .crew import Progress
from .data.options import Data
from .embedded import points_table, refuse_points
from .errors import ConfigError, RunFolderError
from .evaluate import Metrics, check_free, evaluate_on
from .explaining.channel import Channel, strongest_on
from .explaining.explain import explain_on
from .explaining.explanation import Asking, Explanation, check_out, write_explanations
from .features import device_for
from .folder import METRICS, MODEL, packed, read_json, unpacked, write_json
from .models.network import Network
from .predict import OWN, Answers, answers, as_decided, as_examples, level_of
from .predictions import write_predictions
from .saved import load as load_saved
from .tasks.base import Task
from .tasks.decisions import Decisions, checked_prior
from .tasks.embed import EmbedTask

if TYPE_CHECKING:
    import pandas as pd

    from .export.exported import Exported
    from .nearest.neighbours import Neighbours


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network that answers in words, with what was measured of it.

    Args:
        network: The network; `network.body` is the library's own, without its classifier. Of a run in folds it is one
            that averages the folds' answers; `load("RUN/fold-1")` gives one of them.
        task: What its outputs mean; `task.labels.names` are the classes.
        folder: The run folder on disk.
        metrics: What was measured when it was made, by part; with `folds` and `leaks` where there are any.
        facts: All of finetune.json.
        stopped: Whether the user stopped the run before its end.
    """

    network: Network
    task: Task
    folder: Path
    metrics: dict[str, Any]
    facts: Mapping[str, Any] = field(repr=False)
    stopped: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the outputs; empty for a number."""
        return self.task.labels.names

    @property
    def decisions(self) -> Decisions:
        """What turns the network's answers into those that are told: temperature, thresholds, sets."""
        return Decisions.from_dict(self.facts.get("decisions"))

    def predict(
        self, inputs: Any, *, prior: Mapping[str, float] | None = None, level: int | None = None, neighbours: int = 0,
        batch_size: int = 32, accelerator: str = "auto", progress: Progress | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """What the model says of pictures.

        Args:
            inputs: One or many paths, folders and globs; or one or many arrays (H, W) or (H, W, C) or PIL pictures.
            prior: How frequent some classes are where the pictures are from, {"melanoma": 0.02} say; by default as
                frequent as in training.
            level: Answers with the nodes of this level of the taxonomy; 1 lies right below its root. By default the
                classes answer, and nodes above them have a column each.
            neighbours: How many of the nearest training pictures are told beside each answer.
            batch_size: Pictures at a time.
            accelerator: "auto", "cpu", "gpu", ...
            progress: Is told of each batch.

        Returns:
            One row a picture in the order asked: path, label, one column a class with its probability, error (empty
            where the picture could be read). Of a model with `coverage` also set and abstained, of a number low and
            high; of one that operates at a precision of all answers, abstained. With `neighbours` also neighbours
            (files, nearest first) and neighbour_labels, joined by "; ", and agreeing: the share of them that has the
            label that was answered. Of a model of the task embed the point is told: path, embedding_0 and so on, error.

        Raises:
            ConfigError: A prior of no class, or one that cannot be; a level that there is not, or one together with
                neighbours, which have classes; neighbours below 0.
            DataError: A folder or pattern without pictures, or an array that may be one picture or many; training
                pictures that are gone.
            RunFolderError: The run does not say what it learned from, and neighbours are asked for.
        """
        from .nearest.answers import COLUMNS, Overheard, with_neighbours

        if prior or neighbours or level is not None:
            refuse_points(self.task, "predict with a prior, a level or neighbours")
        if prior:
            checked_prior(self.task, prior, self.decisions.priors)
        if neighbours < 0:
            raise ConfigError(f"neighbours is how many are told beside an answer, 0 or more. Got {neighbours}.")
        if level is not None:
            level_of(self.task, level)
            if neighbours:
                raise ConfigError("neighbours stand beside answers of classes. Expected either neighbours or level.")
        examples, heard = as_examples(inputs), Overheard()
        found: Answers = answers(
            self.network, self.task, examples, batch_size=batch_size, accelerator=accelerator, progress=progress,
            between=heard if neighbours else None,
        )  # fmt: skip
        if isinstance(self.task, EmbedTask):
            return points_table(examples, found.answer, found.rows, found.errors)
        if not neighbours:
            return as_decided(self.task, examples, found, self.decisions, prior=prior, level=level)
        table = as_decided(self.task, examples, found, self.decisions, prior=prior, own=(*OWN, *COLUMNS))
        return with_neighbours(
            table, self.network, examples, heard, self.folder, k=neighbours, labels=self.task.labels,
            batch_size=batch_size, device=device_for(accelerator),
        )  # fmt: skip

    def evaluate(
        self, source: Any, *, batch_size: int = 32, accelerator: str = "auto", progress: Progress | None = None,
        seed: int = 0, say: Callable[[str], None] | None = None, out: str | Path | None = None, **options: Any,
    ) -> Metrics:  # fmt: skip
        """How good the model is on examples whose answers are known.

        Args:
            source: As for `fit`.
            batch_size: Pictures at a time.
            accelerator: "auto", "cpu", "gpu", ...
            progress: Is told of each batch.
            seed: Seeds the intervals.
            say: Is told what was inferred of the source and left out of it, a sentence each.
            out: A folder for metrics.json and predictions.csv.
            options: Those of `Data`: image, target, group, ...

        Returns:
            `{"test": {"accuracy": {"value", "low", "high", "n"}, ...}, "classes": {"test": ...}, ...}`; a source in
            parts answers under their names. "learned_from" is how many of a part are files of the training part. What
            else there is, is in docs/evaluation.md.
        """
        from .run_examples import learned_from

        if out is not None:
            check_free(Path(out))
        data = source if isinstance(source, Data) else Data(source=source, **options)
        if data.delimiter is None and self.task.labels.kind == "labels":
            # Cells are read as they were when the model learned from them.
            data = replace(data, delimiter=self.facts.get("data", {}).get("delimiter"))
        taught, untold = learned_from(self.folder)
        found = evaluate_on(
            self.network, self.task, data, decisions=self.decisions, batch_size=batch_size, accelerator=accelerator,
            progress=progress, seed=seed, learned_from=taught,
        )  # fmt: skip
        if say is not None:
            for note in (*found.notes, *([untold] if untold else [])):
                say(note)
        if out is not None:
            write_predictions(Path(out), found.predictions)
            write_json(Path(out) / METRICS, found.metrics)
        return found.metrics

    def neighbours(
        self, inputs: Any, *, among: Any = None, k: int = 9, batch_size: int = 32, accelerator: str = "auto",
        progress: Progress | None = None, **options: Any,
    ) -> Neighbours:  # fmt: skip
        """The known pictures that the network finds most like some pictures, by the cosine between features.

        A picture is never its own neighbour: what has its address or its pixels is left out.

        Args:
            inputs: As for `predict`.
            among: Any source as of `fit`, or a folder of pictures without labels; by default the pictures that the
                model learned from, whose index is kept in the run folder.
            k: How many.
            batch_size: Pictures at a time.
            accelerator: "auto", "cpu", "gpu", ...
            progress: Is told of each batch.
            options: Those of `Data` that say how to read `among`: image, target, layout, ...

        Returns:
            The neighbours of each: `.table()`, `.to_dict()`, and `.write(folder)` for both and a sheet of pictures.

        Raises:
            ConfigError: A k below 1, or options that do not fit.
            DataError: Pictures that cannot be found, or none that can be read.
            RunFolderError: The run does not say what it learned from, and `among` names nothing.
        """
        from .nearest.neighbours import find_neighbours

        return find_neighbours(
            self.network, inputs, self.folder, among=among, k=k, batch_size=batch_size, accelerator=accelerator,
            progress=progress, options=options,
        )  # fmt: skip

    def explain(
        self, inputs: Any, *, accelerator: str = "auto", progress: Progress | None = None,
        out: str | Path | None = None, **asking: Any,
    ) -> list[Explanation]:  # fmt: skip
        """Where in pictures the answers come from.

        Args:
            inputs: As for `predict`.
            accelerator: "auto", "cpu", "gpu", ...
            progress: Is told of each batch.
            out: A new folder for a drawing of each, explain.json and maps.npz.
            asking: method ("grad-cam", "grad-cam++", "occlusion", "integrated-gradients", "deconvnet", "roll-out"),
                answer, layer, window, stride, steps, batch_size; see docs/explain.md.

        Returns:
            One a picture in the order asked, with its map and `draw(file)`.

        Raises:
            ConfigError: What cannot be asked, or does not suit this network; before any picture is read.
            DataError: As `predict`.
            RunFolderError: The folder is in the way, or cannot be written.
        """
        refuse_points(self.task, "explain")
        if out is not None:
            check_out(out)
        found = explain_on(
            self.network, self.task, as_examples(inputs), Asking.of(asking), decisions=self.decisions,
            target=self.target, accelerator=accelerator, progress=progress,
        )  # fmt: skip
        if out is not None:
            write_explanations(out, found)
        return found

    def strongest(
        self, inputs: Any, layer: str, channel: int | None = None, *, top: int = 9, batch_size: int = 8,
        accelerator: str = "auto", progress: Progress | None = None,
    ) -> Channel:  # fmt: skip
        """The pictures to which a channel of a layer answers most, and what in them it answers to.

        Args:
            inputs: As for `predict`.
            layer: Its name in the backbone.
            channel: Its number, from 0; the one whose strongest answers stand out most from its mean if None.
            top: How many pictures.
            batch_size: Pictures at a time.
            accelerator: "auto", "cpu", "gpu", ...
            progress: Is told of each batch.

        Raises:
            ConfigError: There is no such layer or channel; before any picture is read.
            DataError: As `predict`, or no picture can be read.
        """
        return strongest_on(self.network, as_examples(inputs), layer, channel, top=top, batch_size=batch_size,
                            accelerator=accelerator, progress=progress)  # fmt: skip

    def export(
        self, out: str | Path, *, format: str = "onnx", prior: Mapping[str, float] | None = None, inputs: Any = None
    ) -> Exported:
        """Writes the model as one graph for other runtimes, from pictures as they are decoded to its decisions.

        Args:
            out: A new folder for the graph and export.json, which says what it takes and tells.
            format: "onnx", or "torch" for a program of torch.export.
            prior: How frequent some classes are where the graph will be used, as for `predict`.
            inputs: Real pictures, as for `predict`, of which graph and model must say the same; by default 32 of those
                that the run held out.

        Raises:
            ConfigError: An unknown format, a package that is missing, or a prior that cannot be; before any file is
                read.
            DataError: No picture to compare on.
            FinetuneError: The network cannot be made a graph, or the graph does not say what the model says; then
                nothing is written.
            RunFolderError: The folder is in the way; or the run does not say which pictures it held out.
        """
        from .export.exported import check_asked, export_network, pictures_of

        asked = check_asked(format, out)
        if prior:
            checked_prior(self.task, prior, self.decisions.priors)
        examples = pictures_of(self.folder) if inputs is None else as_examples(inputs)
        return export_network(self.network, self.task, self.decisions, examples, out, format=asked, prior=prior)

    @property
    def target(self) -> str:
        """What the number that the model answers with is called: the column of the table it learned from."""
        named = self.facts.get("data", {}).get("target")
        return named if isinstance(named, str) else "number"

    def save(self, folder: str | Path) -> Path:
        """Copies the run folder, so that a model made without `out` outlives its temporary one."""
        target = Path(folder)
        shutil.copytree(self.folder, target, dirs_exist_ok=False)
        return target

    def __reduce__(self) -> tuple[Any, ...]:
        """A model travels between processes as the files of its run folder, without those of single epochs."""
        if self.network.origin.library == "module":
            raise RunFolderError(
                "A model of Backbone.from_module cannot be pickled: only its owner has the module. Expected its run "
                "folder to be loaded where it is needed: ft.load(folder, module=...)."
            )
        return _unpacked, (packed(self.folder),)


def own(model: Model) -> None:
    """Lets a model's temporary folder go when the model does; `Model.save` keeps a copy."""
    weakref.finalize(model, shutil.rmtree, model.folder, ignore_errors=True)


def _unpacked(files: Mapping[str, bytes]) -> Model:
    """The model of a run folder's files, in a temporary folder that goes when it does."""
    folder = unpacked(files)
    try:
        model = load(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    own(model)
    return model


def load(path: str | Path, *, module: Any = None, recipe: str | Path | None = None) -> Model:
    """Reads a model back: from a run folder, or from the `model/` folder in one.

    Args:
        path: The folder.
        module: The network it was made from, for a model of `Backbone.from_module`.
        recipe: Or the recipe file that made that network; it must be the file that `finetune run` was given then.

    Raises:
        ConfigError: A module and a recipe were given.
        RunFolderError: It is missing, incomplete or damaged, or made by another recipe file.
    """
    saved = load_saved(path, module=module, recipe=recipe)
    folder = Path(path)
    measured = folder / METRICS if (folder / MODEL).is_dir() else folder.parent / METRICS
    return Model(
        network=saved.network, task=saved.task, folder=folder, facts=saved.facts,
        metrics=read_json(measured) if measured.exists() else {}, stopped=bool(saved.facts.get("stopped", False)),
    )  # fmt: skip
