"""The scikit-learn face: `fit`, `predict`, `predict_proba`, `score` on paths or arrays."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .errors import ConfigError, DataError, nearest
from .fit import fit
from .model import Model, own
from .recipe import DEFAULT_BACKBONE, WORDS

# What X, y and groups say already, and what would divide examples by a column that X does not have.
GIVEN = ("image", "target", "task", "group", "split", "delimiter", "no_header", "root", "label_from", "order",
         "stretches", "gap")  # fmt: skip
RENAMING = ("taxonomy", "max_class_size")  # scikit-learn compares answers with y, whose names they must be
OF_FIT = ("verbose", "callbacks", "logger", "trainer")


class _Pictures(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no hints
    """What both estimators do. Every word of `fit` is a parameter of theirs, so that none is written twice.

    scikit-learn finds an estimator's parameters in the signature of its constructor. Here the common ones stand there
    and all others come in `**options`; `get_params` and `set_params` know both kinds.
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        *,
        weights: str | None = None,
        method: str | None = None,
        epochs: int | None = None,
        lr: float | str | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        # scikit-learn's clone asks that a constructor keeps what it is given, and judges nothing.
        self.backbone = backbone
        self.weights = weights
        self.method = method
        self.epochs = epochs
        self.lr = lr
        self.seed = seed
        self.options = options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name; an option that was not given is not among them.

        Args:
            deep: As scikit-learn passes it; no parameter is an estimator.
        """
        return {**super().get_params(deep=False), **self.options}

    def set_params(self, **params: Any) -> Self:
        """Changes parameters: any word of `ft.fit` that does not say what X and y are.

        Raises:
            ConfigError: A word that is none of these.
        """
        _refuse_strange(type(self).__name__, params)
        own_names = set(self._get_param_names())
        for name, value in params.items():
            if name in own_names:
                setattr(self, name, value)
            else:
                self.options = {**self.options, name: value}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _learn(self, pictures: Any, y: np.ndarray, task: str, groups: Any, given: Mapping[str, Any]) -> Model:
        """The model of these pictures in a temporary folder that goes when the model does."""
        if given:
            raise ConfigError(
                f"fit of {type(self).__name__} takes pictures, targets and groups. Got {', '.join(given)}. "
                "Examples cannot be weighted one by one; classes can, by class_weight=, loss= or sampler=."
            )
        params = self.get_params()
        _refuse_strange(type(self).__name__, params)
        names = _listed(pictures)
        if len(names) != len(y) or (groups is not None and len(groups) != len(y)):
            and_groups = f" and {len(groups)} groups" if groups is not None else ""
            raise DataError(
                f"There are {len(names)} pictures and {len(y)} targets{and_groups}. Expected one target a picture."
            )
        # All that is given is learned from: scikit-learn's own splitters say what is held out.
        words = {"test": 0.0, "verbose": False, **params, "task": task}
        if isinstance(names[0], str):
            import pandas as pd

            table = pd.DataFrame({"path": names, "target": list(y)})
            words |= {"image": "path", "target": "target"}
            if groups is not None:
                table["group"] = [str(group) for group in groups]
                words["group"] = "group"
            source: Any = table
        elif groups is not None:
            raise DataError("groups are taken with paths only. Expected paths, or arrays without groups.")
        else:
            source = (names, list(y))
        folder = Path(tempfile.mkdtemp(prefix="finetune-"))
        try:
            model = fit(source, **words, out=folder)
        except BaseException as error:
            # In a search nobody would look for what is left of a fit that went wrong.
            shutil.rmtree(folder, ignore_errors=True)
            getattr(error, "__notes__", []).clear()
            raise
        own(model)
        return model

    def _answered(self, pictures: Any) -> Any:
        check_is_fitted(self, "model_")
        table = self.model_.predict(_listed(pictures))
        failed = table[table["error"] != ""]
        if len(failed):
            first = failed.iloc[0]
            raise DataError(
                f"{len(failed)} of {len(table)} pictures cannot be read; the first is {first['path']}: "
                f"{first['error']}."
            )
        return table


class ImageClassifier(ClassifierMixin, _Pictures):  # type: ignore[misc]  # scikit-learn has no hints
    """A fine-tuned classifier of pictures for scikit-learn's tools: clone, cross_val_score, GridSearchCV, Pipeline.

    >>> import finetune as ft
    >>> clf = ft.ImageClassifier("resnet18", method="probe", batch_size=16)
    >>> clf.set_params(head="mlp").get_params()["head"]
    'mlp'

    Args:
        backbone: As for `fit`, and so are the next five.
        weights: "default", a path, or "none".
        method: What moves when.
        epochs: Length of the phases that move the backbone.
        lr: The head's rate at its height.
        seed: One seed, one result.
        options: Any other keyword of `ft.fit` that does not say what X and y are: `augment`, `class_weight`,
            `accelerator`, `validation`, ... A wrong one is refused by `set_params` and `fit`, with the nearest.

    Attributes:
        classes_: The classes, sorted, in the type of `y`.
        model_: The `Model`; it knows them as c0, c1, ... in this order. Its run folder is a temporary one that goes
            when the model does; `model_.save("runs/x")` keeps it.
    """

    def fit(self, X: Any, y: Any, groups: Any = None, **given: Any) -> ImageClassifier:
        """Fine-tunes on pictures.

        Args:
            X: Paths, or arrays (H, W) or (H, W, C), one a picture.
            y: Their classes.
            groups: What must not sit on two sides of the split for validation.
            given: Nothing else is taken; `sample_weight` is refused in words.

        Raises:
            ConfigError: Options that cannot be right.
            DataError: Pictures or targets that cannot be used.
        """
        y = _targets(y, "for several labels a picture, ft.fit takes a table with a column a label")
        self.classes_, places = np.unique(y, return_inverse=True)
        # Taught as codes: a class may be a number, have spaces, or be called like a column of the answers.
        codes = np.array(self._codes(), dtype=object)
        weights = self.options.get("class_weight")
        taught = self
        if isinstance(weights, Mapping):
            code_of = {str(name): code for name, code in zip(self.classes_, codes, strict=True)}
            taught = type(self)(**self.get_params())
            taught.set_params(class_weight={code_of.get(str(k), str(k)): weight for k, weight in weights.items()})
        self.model_ = taught._learn(X, codes[places.ravel()], "classify", groups, given)
        return self

    def _codes(self) -> list[str]:
        return [f"c{place}" for place in range(len(self.classes_))]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes), in the order of `classes_`."""
        answered = self._answered(X)
        return np.asarray(answered[self._codes()], dtype=np.float64)

    def decision_function(self, X: Any) -> np.ndarray:
        """Log odds of the second class (n,) where there are two, else log probabilities (n, classes)."""
        logs = np.log(np.clip(self.predict_proba(X), np.finfo(np.float32).tiny, 1.0))
        return np.asarray(logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each picture."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[likeliest])


class ImageRegressor(RegressorMixin, _Pictures):  # type: ignore[misc]  # scikit-learn has no hints
    """A fine-tuned network that answers pictures with a number.

    Args:
        backbone: As for `fit`, and so are the next five.
        weights: "default", a path, or "none".
        method: What moves when.
        epochs: Length of the phases that move the backbone.
        lr: The head's rate at its height.
        seed: One seed, one result.
        options: Any other keyword of `ft.fit`, as for `ImageClassifier`.

    Attributes:
        model_: The `Model`, as in `ImageClassifier`.
    """

    def fit(self, X: Any, y: Any, groups: Any = None, **given: Any) -> ImageRegressor:
        """Fine-tunes on pictures.

        Args:
            X: Paths, or arrays (H, W) or (H, W, C), one a picture.
            y: Their numbers.
            groups: What must not sit on two sides of the split for validation.
            given: Nothing else is taken; `sample_weight` is refused in words.

        Raises:
            ConfigError: Options that cannot be right.
            DataError: Pictures or targets that cannot be used.
        """
        y = _targets(y, "one estimator answers one number a picture")
        try:
            numbers = y.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"Targets of an ImageRegressor are numbers: {error}. Expected numbers.") from None
        self.model_ = self._learn(X, numbers, "regress", groups, given)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each picture, (n,)."""
        return np.asarray(self._answered(X)["label"], dtype=np.float64)


def _refuse_strange(name: str, params: Mapping[str, Any]) -> None:
    """Refuses words that are no parameters.

    Raises:
        ConfigError: With all of them, and the nearest known one of each.
    """
    known = [word for word in WORDS if word not in (*GIVEN, *RENAMING)]
    wrong = []
    for word in params:
        if word in GIVEN:
            wrong.append(f"{name} takes no {word}: X, y and groups say what the examples are.")
        elif word in RENAMING:
            wrong.append(f"{name} takes no {word}: it answers with the classes of y. ft.fit takes it.")
        elif word not in known and word not in OF_FIT:
            wrong.append(
                f"{name} has no parameter {word}.{nearest(word, known) or ' It takes the keywords of ft.fit.'}"
            )
    if wrong:
        raise ConfigError("\n".join(wrong))


def _targets(y: Any, instead: str) -> np.ndarray:
    """Targets as (n,) values.

    Raises:
        DataError: Several a picture.
    """
    values = np.asarray(y)
    values = values.ravel() if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim != 1:
        raise DataError(f"y is of shape {values.shape}. Expected one target a picture; {instead}.")
    return values


def _listed(pictures: Any) -> Sequence[Any]:
    """Pictures as a list of paths or of arrays; a table of one column, as some transformers give, is that column.

    Raises:
        DataError: None at all, or several columns.
    """
    import pandas as pd

    if isinstance(pictures, np.ndarray) and pictures.dtype.kind not in "USO":
        columns: Any = pictures
    else:
        columns = np.asarray(pictures) if isinstance(pictures, pd.DataFrame) else pictures
        if isinstance(columns, np.ndarray) and columns.ndim == 2:
            if columns.shape[1] != 1:
                raise DataError(f"X has {columns.shape[1]} columns. Expected one path, or one array, a picture.")
            columns = columns.ravel()
    listed = [np.asarray(item) if isinstance(item, np.ndarray) else item for item in columns]
    if not listed:
        raise DataError("There are no pictures. Expected paths or arrays.")
    return listed if isinstance(listed[0], np.ndarray) else [str(item) for item in listed]
