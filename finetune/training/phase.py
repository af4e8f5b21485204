"""A phase: a stretch of training in which the same parameters learn, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..data.policies import POLICIES
from ..errors import ConfigError

SCHEDULES = ("cosine", "one-cycle", "step", "constant")
OPTIMIZERS = ("sgd", "plain-sgd", "adamw", "lars", "lamb", "rmsprop")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training in which the same parameters learn.

    Args:
        name: How it is shown and how its checkpoint is called.
        learns: "head", "all", the names of stages, "bias-norm" (the head, and of every stage biases and the scales and
            shifts of normalisation), or "adapters" (the head, and matrices of low rank beside the weights, which are
            merged at the end of the phase).
        on: "features": the head is fitted to convergence on the features of the frozen backbone, which are computed
            once. "pictures": gradient steps on (augmented) pictures.
        epochs: Passes over the training pictures; 0 on features.
        steps: On pictures: ends the phase after this many steps of the optimizer; 0 leaves it to `epochs`.
        optimizer: "sgd" with Nesterov's momentum of 0.9, "plain-sgd" without momentum, "adamw", for large
            minibatches "lars" or "lamb", or "rmsprop" as TensorFlow has it.
        lr: The head's rate at its height; "auto" looks for it by a range test before the phase.
        layer_decay: What the rate is multiplied by from one stage to the next one below, in (0, 1].
        schedule: "cosine": a warm-up and half a cosine down to 0. "one-cycle" (Smith and Topin 2017, arXiv
            1708.07120): a rise over 30 % of the steps and a fall to 0, momentum the other way round. "step": a fall
            at each of the plan's milestones. "constant".
        decay_to: What weight decay pulls towards: "zero", or "start", the weights at the beginning of the phase
            (L2-SP); the head is pulled to zero in any case.
        norms: "frozen": normalisation layers keep the running statistics they have, in every stage. "train": those
            of learning stages learn theirs. Frozen stages always keep theirs.
        augment: The policy that varies the training pictures.
        views: On features: how many varied versions of each training picture the head is fitted on beside the picture.
            On pictures, where lower stages are frozen: through how many varied versions of each the epochs go round,
            for which what those stages make of them is computed once; 0 varies and computes anew in each epoch.
        ema: On pictures: the share of the phase's steps that the running average of the weights looks back over, in
            [0, 1]; the average is what is measured and kept. 0 keeps the weights of the last step.
        teacher: Share of the loss that is the distance from a teacher's answers, in [0, 1].
        size: Side in pixels of the training pictures; 0 for the network's own. Measured is at the network's own.
    """

    name: str
    learns: Literal["head", "all", "bias-norm", "adapters"] | tuple[str, ...] = "all"
    on: Literal["features", "pictures"] = "pictures"
    epochs: int = 0
    steps: int = 0
    optimizer: Literal["sgd", "plain-sgd", "adamw", "lars", "lamb", "rmsprop"] = "sgd"
    lr: float | Literal["auto"] = 1e-2
    layer_decay: float = 1.0
    schedule: Literal["cosine", "one-cycle", "step", "constant"] = "cosine"
    decay_to: Literal["zero", "start"] = "zero"
    norms: Literal["frozen", "train"] = "frozen"
    augment: str = "light"
    views: int = 0
    ema: float = 0.0
    teacher: float = 0.0
    size: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if self.on not in ("features", "pictures"):
            wrong.append(f'on must be "features" or "pictures". Got {self.on!r}.')
        if self.on == "pictures" and self.epochs < 1:
            wrong.append(f"epochs must be 1 or more on pictures. Got {self.epochs}.")
        if self.on == "features" and self.learns != "head":
            wrong.append(f'On features only the head can learn: learns must be "head". Got {self.learns!r}.')
        if isinstance(self.learns, str) and self.learns not in ("head", "all", "bias-norm", "adapters"):
            wrong.append(
                f'learns must be "head", "all", "bias-norm", "adapters" or names of stages. Got {self.learns!r}.'
            )
        for name, known in (
            ("optimizer", OPTIMIZERS), ("norms", ("frozen", "train")), ("schedule", SCHEDULES),
            ("decay_to", ("zero", "start")), ("augment", tuple(POLICIES)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                wrong.append(f"{name} must be one of {', '.join(known)}. Got {getattr(self, name)!r}.")
        if min(self.views, self.steps, self.size) < 0:
            wrong.append(f"views, steps and size must be 0 or more. Got {self.views}, {self.steps} and {self.size}.")
        if not 0 <= self.ema <= 1 or not 0 <= self.teacher <= 1:
            wrong.append(f"ema and teacher must be in [0, 1]. Got {self.ema} and {self.teacher}.")
        if (self.lr != "auto" and not 0 < float(self.lr) < float("inf")) or not 0 < self.layer_decay <= 1:
            wrong.append(
                f'lr must be above 0 or "auto", and layer_decay in (0, 1]. Got {self.lr} and {self.layer_decay}.'
            )
        if self.optimizer == "plain-sgd" and self.schedule == "one-cycle":
            wrong.append('one-cycle moves the momentum, which "plain-sgd" does not have. Expected "sgd".')
        if self.optimizer in ("lars", "lamb", "rmsprop") and self.lr == "auto":
            wrong.append(f'lr must be a number with "{self.optimizer}", for which no range is known to look in.')
        if self.learns == "adapters" and self.decay_to == "start":
            wrong.append('decay_to must be "zero" for adapters, which start at 0.')
        if wrong:
            raise ConfigError("\n".join(f'Phase "{self.name}": {line}' for line in wrong))
