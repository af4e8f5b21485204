"""The trials of a search, one after the other, and the fit of the best of them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.splits import Splits
from ..errors import DataError, TrainingError
from ..files import replacing
from ..folder import run_folder
from ..model import Model, load
from ..recipe import Recipe, recipe_from
from ..report.printed import Talk
from ..running.gather import Material, again, gather, write_recipe
from ..running.run import Doors, divide, learn
from ..tasks.metric_names import HIGHER_IS_BETTER
from ..training.machine import Machine
from .search import Choices, Space, applies, together
from .tune import BEST, JOURNAL, TRIALS

PRUNED_SHARE = 25.0  # per cent of the trials so far among whose worst, at the same step, a trial is given up
BEFORE_PRUNING = 4  # trials that end before any is given up
BY_CHANCE = 6  # trials that are drawn before the sampler learns from them


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search found.

    Args:
        model: The best trial's recipe, fitted once more; its run folder is `best/` in `folder`.
        folder: The folder of the search.
        trials: One row a trial: number, state, value, seconds, how often it was judged, the words that it
            tried, and why it ended early.
        number: That of the best trial.
        value: Its `monitor` on validation, which chose it, and so is too good for new pictures.
        monitor: The metric that chose.
        words: What it tried.
        stopped: Whether the user stopped the search before its end.
    """

    model: Model
    folder: Path
    trials: pd.DataFrame = field(repr=False)
    number: int
    value: float
    monitor: str
    words: Mapping[str, Any]
    stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        counts = self.trials["state"].value_counts()
        return {
            "folder": str(self.folder), "trials": {str(state): int(n) for state, n in counts.items()},
            "best": {"number": self.number, "monitor": self.monitor, "value": self.value, "words": dict(self.words)},
            "metrics": self.model.metrics, "stopped": self.stopped,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Search:
    """One call of `tune`, its options checked.

    Args:
        optuna: The package.
        source: The examples.
        options: Words that are the same in all trials.
        start: A recipe whose values hold where no word says otherwise.
        base: The recipe without any searched word.
        space: What is searched.
        said: The words whose ranges somebody named.
        folder: Where the search is kept.
        talk: Where progress is told.
        machine: The devices.
        recorded: The split of an earlier run, which holds for the examples that it had.
        gathered: What was read already, by network.
    """

    optuna: Any
    source: Any
    options: Mapping[str, Any]
    start: Recipe | None
    base: Recipe
    space: Space
    folder: Path
    said: Sequence[str]
    talk: Talk
    machine: Machine
    recorded: pd.DataFrame | None
    gathered: dict[str, Material] = field(default_factory=dict)

    def run(self, trials: int, most: float | None) -> Tuned:
        """The trials that are still to be made, and the winner."""
        begun, stopped = time.monotonic(), False
        material = self.material(self.base)
        with tempfile.TemporaryDirectory(prefix="finetune-") as place:
            splits = divide(material, Path(place), self.recorded, choosing=True)
        if not len(splits.indices("validation")):
            raise DataError(
                "There is no validation part, and none can be taken from so few training pictures: nothing can judge "
                "a trial. Expected more pictures, or a split with train and validation."
            )
        space = self._of_kind(material)
        monitor = self._monitor(material)
        study = self._study(monitor, splits.fingerprint)
        if not self._counted(study):
            study.enqueue_trial(_usual(material, space), skip_if_exists=True)
        for note in (*material.notes, *splits.notes):
            self.talk.say(f"  {note}")
        while (number := len(self._counted(study))) < trials and not stopped:
            if most is not None and number and not self._in_time(study, most - (time.monotonic() - begun)):
                self.talk.say(f"  no further trial ends in time: {number} of {trials} were made")
                break
            stopped = self._trial(study, number, space, splits, monitor)
            self._write_table(study)
        return self._best(study, splits, monitor, stopped=stopped)

    def material(self, recipe: Recipe) -> Material:
        """What a recipe learns from; examples are read and features computed once for each network."""
        model = json.dumps(recipe.to_dict()["model"], sort_keys=True, default=str)
        if model not in self.gathered:
            with tempfile.TemporaryDirectory(prefix="finetune-") as place:
                self.gathered[model] = gather(recipe, self.machine, Path(place), self.talk)
        return again(self.gathered[model], recipe)

    def _of_kind(self, material: Material) -> Space:
        """The space without what has no meaning for numbers, unless somebody asked for it."""
        idle = ("augment", "mixup") if material.examples.kind == "number" else ()
        return {word: values for word, values in self.space.items() if word not in idle or word in self.said}

    def _monitor(self, material: Material) -> str:
        task = material.options.build(material.names, material.examples.targets)
        return task.check_monitor(self.base.plan.monitor)

    def _study(self, monitor: str, fingerprint: str) -> Any:
        journal = self.optuna.storages.journal
        storage = journal.JournalStorage(journal.JournalFileBackend(str(self.folder / JOURNAL)))
        study = self.optuna.create_study(
            storage=storage, study_name="tune", load_if_exists=True,
            direction="maximize" if HIGHER_IS_BETTER[monitor] else "minimize",
            pruner=self.optuna.pruners.PercentilePruner(100 - PRUNED_SHARE, n_startup_trials=BEFORE_PRUNING),
        )  # fmt: skip
        was = study.user_attrs.get("splits")
        if was not in (None, fingerprint):
            raise DataError(
                f"The examples are not those of the search in {self.folder}, or they are divided otherwise: trials "
                "cannot be compared. Expected the same source, or --overwrite to begin anew."
            )
        study.set_user_attr("splits", fingerprint)
        state = self.optuna.trial.TrialState
        for trial in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            study.tell(trial.number, state=state.FAIL)  # of a process that was killed
        return study

    def _counted(self, study: Any) -> list[Any]:
        """The trials that ended by themselves."""
        state = self.optuna.trial.TrialState
        ended = study.get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED, state.FAIL))
        return [t for t in ended if t.state != state.FAIL or t.user_attrs.get("reason", "stopped") != "stopped"]

    def _in_time(self, study: Any, left: float) -> bool:
        """Whether a trial as long as the longest so far, and the winner's fit, end in so many seconds."""
        spent = [trial.user_attrs["seconds"] for trial in self._counted(study)]
        return bool(2 * max(spent) <= left)

    def _trial(self, study: Any, number: int, space: Space, splits: Splits, monitor: str) -> bool:
        """One trial, told to the study; whether the user stopped it."""
        from ..training.reported import Hopeless, Reported  # Lightning is for trials, not for `import`

        # A sampler a trial: what is tried follows from the seed and the trials before, however often a search went on.
        study.sampler = self.optuna.samplers.TPESampler(
            seed=1_000_003 * self.base.plan.seed + number, n_startup_trials=BY_CHANCE
        )
        trial = study.ask()
        words = _suggested(trial, space, self.options)
        state, begun, value, reason, seen = self.optuna.trial.TrialState, time.monotonic(), None, "", dict[str, Any]()

        def tell(step: int, measured: float) -> bool:
            trial.report(measured, step)
            return bool(trial.should_prune())

        part = splits.part.copy()
        part[part == "test"] = ""
        left_out = replace(splits, part=part, refit=False)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".trial-") as place:
            # Ranks of their own could not tell; there a trial runs to its end.
            told = [Reported(tell, Path(place) / "metrics.csv", monitor)] if self.machine.world_size == 1 else []
            try:
                material = self.material(recipe_from(self.source, together(self.options, words), self.start))
                model = learn(material, left_out, Path(place), Talk(None), Doors(callbacks=told)).model
                seen = {f"validation_{name}": figure["value"] for name, figure in model.metrics["validation"].items()}
                value, reason = seen[f"validation_{monitor}"], "stopped" if model.stopped else ""
                ended = state.COMPLETE if value is not None and not reason else state.FAIL
            except Hopeless as verdict:
                ended, reason = state.PRUNED, str(verdict)
            except TrainingError as error:
                ended, reason = state.FAIL, str(error)
            except KeyboardInterrupt:
                ended, reason = state.FAIL, "stopped"
        for name, fact in {"seconds": time.monotonic() - begun, "reason": reason, "measured": seen}.items():
            trial.set_user_attr(name, fact)
        study.tell(trial, value if ended == state.COMPLETE else None, state=ended)
        end = f"{monitor} {value:.4g}" if ended == state.COMPLETE else reason.splitlines()[0] if reason else "undefined"
        self.talk.say(f"trial {trial.number}: {_said(words)} -> {end} ({time.monotonic() - begun:.0f} s)")
        return reason == "stopped"

    def _write_table(self, study: Any) -> pd.DataFrame:
        """Writes trials.csv: what each trial tried, and how it ended."""
        rows = []
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished():
                continue
            rows.append({
                "number": trial.number, "state": {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower()),
                "value": trial.value if trial.state.name == "COMPLETE" else None,
                "seconds": trial.user_attrs.get("seconds"), "judged": len(trial.intermediate_values),
                **{word: trial.params.get(word) for word in self.space}, **trial.user_attrs.get("measured", {}),
                "reason": trial.user_attrs.get("reason", ""),
            })  # fmt: skip
        table = pd.DataFrame(rows)
        with replacing(self.folder / TRIALS) as temporary:
            table.to_csv(temporary, index=False)
        return table

    def _best(self, study: Any, splits: Splits, monitor: str, *, stopped: bool) -> Tuned:
        """Fits the winner on the same split, with its test part, unless that was done before."""
        table = self._write_table(study)
        state = self.optuna.trial.TrialState
        if not study.get_trials(deepcopy=False, states=(state.COMPLETE,)):
            if stopped:
                raise KeyboardInterrupt
            reasons = [trial.user_attrs.get("reason") or f"{monitor} is undefined" for trial in self._counted(study)]
            raise TrainingError(f"None of {len(reasons)} trials ended well. The first: {reasons[0]}")
        best, place = study.best_trial, self.folder / BEST
        words = dict(best.params)
        if study.user_attrs.get("fitted") == best.number and (place / "metrics.json").exists():
            model = load(place)
        else:
            self.talk.say(
                f"The best of {len(self._counted(study))} trials is {best.number}: {_said(words)}. It is fitted"
            )
            self.talk.say(f"once more for {place}, and measured on the test part." if len(splits.indices("test")) else
                          f"once more for {place}; there is no test part, so its figures are too good.")  # fmt: skip
            material = self.material(recipe_from(self.source, together(self.options, words), self.start))
            with run_folder(place, overwrite=True) as inside:
                write_recipe(inside, material.asked, self.machine)
                model = learn(material, splits, inside, self.talk, Doors()).model
            stopped = stopped or model.stopped
            study.set_user_attr("fitted", None if model.stopped else best.number)
        return Tuned(model=model, folder=self.folder, trials=table, number=best.number, value=float(best.value),
                     monitor=monitor, words=words, stopped=stopped)  # fmt: skip


def _suggested(trial: Any, space: Space, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial tries: a value for each word that means something beside the others."""
    words: dict[str, Any] = {}
    for word, values in space.items():
        if not applies(word, {**options, **words}):
            continue
        if isinstance(values, Choices):
            words[word] = trial.suggest_categorical(word, list(values.values))
        elif values.whole:
            words[word] = trial.suggest_int(word, int(values.low), int(values.high), log=values.log)
        else:
            words[word] = trial.suggest_float(word, values.low, values.high, log=values.log)
    return words


def _usual(material: Material, space: Space) -> dict[str, Any]:
    """What `fit` would choose by itself, as far as the space holds it."""
    plan, last = material.recipe.plan, material.phases[-1]
    known = {**vars(plan), "backbone": material.recipe.model.name}
    if last.on == "pictures":
        known |= {"epochs": last.epochs, "lr": last.lr, "augment": last.augment, "layer_decay": last.layer_decay}
    return {word: known[word] for word, values in space.items() if word in known and values.holds(known[word])}


def _said(words: Mapping[str, Any]) -> str:
    return ", ".join(f"{w} {value:.3g}" if isinstance(value, float) else f"{w} {value}" for w, value in words.items())
