"""The scikit-learn face: `fit`, `predict`, `predict_proba`, `score` on paths or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from .errors import DataError
from .fit import fit


class _Pictures(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no hints
    """What both estimators do; their constructors are their own, as scikit-learn's `clone` asks."""

    backbone: str
    options: dict[str, Any] | None

    def _learn(self, pictures: Any, y: Any, task: str, groups: Any, **more: Any) -> Any:
        import pandas as pd

        names, y = _listed(pictures), np.asarray(y)
        if len(names) != len(y):
            raise DataError(f"There are {len(names)} pictures and {len(y)} targets. Expected one target a picture.")
        target: list[Any] = [float(v) for v in y] if task == "regress" else [str(v) for v in y]
        words: dict[str, Any] = {"task": task, "verbose": False, **(self.options or {}), **more}
        # All that is given is learned from: scikit-learn's own splitters say what is held out.
        words = {"validation": 0.15, "test": 0.0, **words}
        if isinstance(names[0], np.ndarray):
            if groups is not None:
                raise DataError("groups are taken with paths only. Expected paths, or arrays without groups.")
            return fit((names, target), backbone=self.backbone, **words)
        table = pd.DataFrame({"path": names, "target": target})
        if groups is not None:
            table["group"] = [str(g) for g in groups]
            words["group"] = "group"
        return fit(table, backbone=self.backbone, image="path", target="target", **words)

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
    """A fine-tuned classifier of pictures for scikit-learn's tools: clone, cross_val_score, GridSearchCV.

    Args:
        backbone: As for `fit`.
        options: Further keywords of `fit`, `{"method": "probe", "weights": "w.safetensors"}` say.

    Attributes:
        classes_: The classes, sorted, in the type of `y`.
        model_: The `Model`; it knows them as c0, c1, ... in this order.
    """

    def __init__(self, backbone: str = "resnet50", options: dict[str, Any] | None = None) -> None:
        self.backbone = backbone
        self.options = options

    def fit(self, X: Any, y: Any, groups: Any = None) -> ImageClassifier:
        """Fine-tunes on pictures.

        Args:
            X: Paths, or arrays (H, W) or (H, W, C), one a picture.
            y: Their classes.
            groups: What must not sit on two sides of the split for validation.
        """
        self.classes_, places = np.unique(np.asarray(y), return_inverse=True)
        # Taught as codes: a class may be a number, have spaces, or be called like a column of the answers.
        codes = self._codes()
        more = {}
        weights = (self.options or {}).get("class_weight")
        if isinstance(weights, Mapping):
            code_of = {str(name): code for name, code in zip(self.classes_, codes, strict=True)}
            more["class_weight"] = {code_of.get(str(name), str(name)): weight for name, weight in weights.items()}
        self.model_ = self._learn(X, [codes[place] for place in places.ravel()], "classify", groups, **more)
        return self

    def _codes(self) -> list[str]:
        return [f"c{place}" for place in range(len(self.classes_))]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes), in the order of `classes_`."""
        answered = self._answered(X)
        return np.asarray(answered[self._codes()], dtype=np.float64)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each picture."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[likeliest])


class ImageRegressor(RegressorMixin, _Pictures):  # type: ignore[misc]  # scikit-learn has no hints
    """A fine-tuned network that answers pictures with a number.

    Args:
        backbone: As for `fit`.
        options: Further keywords of `fit`.

    Attributes:
        model_: The `Model`.
    """

    def __init__(self, backbone: str = "resnet50", options: dict[str, Any] | None = None) -> None:
        self.backbone = backbone
        self.options = options

    def fit(self, X: Any, y: Any, groups: Any = None) -> ImageRegressor:
        """Fine-tunes on pictures.

        Args:
            X: Paths, or arrays (H, W) or (H, W, C), one a picture.
            y: Their numbers.
            groups: What must not sit on two sides of the split for validation.
        """
        self.model_ = self._learn(X, y, "regress", groups)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each picture."""
        return np.asarray(self._answered(X)["label"], dtype=np.float64)


def _listed(pictures: Any) -> Sequence[Any]:
    """Pictures as a list of paths or of arrays."""
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind in "US":
        return [str(p) for p in pictures]
    listed = list(pictures)
    if not listed:
        raise DataError("There are no pictures. Expected paths or arrays.")
    return listed if isinstance(listed[0], np.ndarray) else [str(p) for p in listed]
