"""What happens when: a method is a tuple of phases, and a phase is a value."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..data.policies import ENGINES
from ..data.policies import POLICIES as VARIATIONS
from ..errors import ConfigError, nearest
from ..types import Kind

METHODS = ("probe", "full", "head-then-full", "lp-ft")
CACHES = ("auto", "ram", "disk", "off")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
POLICIES = ("auto", *VARIATIONS)
SAMPLERS = ("shuffle", "balanced", "sqrt")

# Rates of the head by optimizer: (adamw, sgd).
FRESH_RATE = (1e-3, 1e-2)
TUNE_RATE = (1e-4, 1e-2)

# What "lp-ft" does by default, as measured on 243 pictures (docs/architecture.md).
LP_FT_VIEWS = 4
MOST_VIEWED = 5_000  # training pictures beyond which a head is fitted without views: they are variety enough
TUNE_POLICY = "standard"
TUNE_MIXUP = 0.4
TUNE_EMA = 0.5


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training in which the same stages learn.

    Args:
        name: How it is shown and how its checkpoint is called.
        learns: "head", "all", or the names of stages.
        on: "features": the head is fitted to convergence on the features of the frozen backbone, which are computed
            once. "pictures": gradient steps on (augmented) pictures.
        epochs: Passes over the training pictures; 0 on features.
        optimizer: "sgd" with Nesterov's momentum of 0.9, or "adamw".
        lr: The head's rate at its height.
        layer_decay: What the rate is multiplied by from one stage to the next one below, in (0, 1].
        norms: "frozen": normalisation layers keep the running statistics they have, in every stage. "train": those
            of learning stages learn theirs. Frozen stages always keep theirs.
        augment: The policy that varies the training pictures.
        views: On features: how many varied versions of each training picture the head is fitted on beside the picture.
        ema: On pictures: the share of the phase's steps that the running average of the weights looks back over, in
            [0, 1]; the average is what is measured and kept. 0 keeps the weights of the last step.
    """

    name: str
    learns: Literal["head", "all"] | tuple[str, ...] = "all"
    on: Literal["features", "pictures"] = "pictures"
    epochs: int = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-2
    layer_decay: float = 1.0
    norms: Literal["frozen", "train"] = "frozen"
    augment: str = "light"
    views: int = 0
    ema: float = 0.0

    def __post_init__(self) -> None:
        wrong = []
        if self.on not in ("features", "pictures"):
            wrong.append(f'on must be "features" or "pictures". Got {self.on!r}.')
        if self.on == "pictures" and self.epochs < 1:
            wrong.append(f"epochs must be 1 or more on pictures. Got {self.epochs}.")
        if self.on == "features" and self.learns != "head":
            wrong.append(f'On features only the head can learn: learns must be "head". Got {self.learns!r}.')
        if self.optimizer not in ("sgd", "adamw"):
            wrong.append(f'optimizer must be "sgd" or "adamw". Got {self.optimizer!r}.')
        if self.norms not in ("frozen", "train"):
            wrong.append(f'norms must be "frozen" or "train". Got {self.norms!r}.')
        if self.augment not in POLICIES[1:]:
            wrong.append(f"augment must be one of {', '.join(POLICIES[1:])}. Got {self.augment!r}.")
        if self.views < 0 or not 0 <= self.ema <= 1:
            wrong.append(f"views must be 0 or more and ema in [0, 1]. Got {self.views} and {self.ema}.")
        if not self.lr > 0 or not 0 < self.layer_decay <= 1:
            wrong.append(f"lr must be above 0 and layer_decay in (0, 1]. Got {self.lr} and {self.layer_decay}.")
        if wrong:
            raise ConfigError("\n".join(f'Phase "{self.name}": {line}' for line in wrong))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train: method, lengths, rates, and the machines.

    Args:
        method: "probe" fits the head on the frozen backbone's features. "full" trains everything from the pretrained
            weights. "head-then-full" trains the head for `head_epochs`, then everything. "lp-ft" (Kumar et al.
            2022, arXiv 2202.10054) fits the head as "probe" does, then trains everything from there.
        epochs: Length of the phases that move the backbone, in passes over the training pictures.
        head_epochs: Length of the first phase of "head-then-full".
        batch_size: Pictures a step on each device.
        accumulate: Steps whose gradients are added before the weights move.
        optimizer: "sgd", "adamw", or "auto": "sgd" where everything starts from a good place, since its steps shrink
            with the gradient and leave alone what fits already; "adamw" for what starts from nothing.
        lr: The head's rate at its height; by default the method's own. It is used as given, whatever the batch.
        layer_decay: What the rate is multiplied by from one stage to the next one below, in (0, 1]; it applies to
            pretrained weights only.
        weight_decay: Of weights towards 0; not of biases and normalisation. By default 0.05 with "adamw", where it is
            decoupled from the gradient, and 0.0001 with "sgd".
        warmup: Share of a phase's steps in which the rate rises, in [0, 1).
        gradient_clip: Largest norm of the gradient of a step; 0 for no bound.
        norms: "frozen", "train", or "auto": frozen for pretrained weights, trained for random ones.
        augment: Policy that varies the training pictures: "light", "standard", "strong", "trivial", "rand", "medical",
            "digits", "documents" or "none"; "auto" is "light", "standard" where "lp-ft" moves the
            backbone, and for a number "documents", which mirrors nothing: a
            mirrored road turns the other way.
        augment_engine: The library that does it, "albumentations" or "torchvision"; both draw the same.
        mirror_target: What becomes of a number when its picture is mirrored: "keep", or "negate" for a steering
            angle; "auto" is then "light" for numbers too.
        sampler: "shuffle" takes each training picture once an epoch; "balanced" each class equally often, "sqrt" in
            proportion to the square root of its frequency, as many pictures in all. Of several labels the rarest
            of a picture counts. A head that is fitted on features takes each picture once in any case. Say
            monitor="balanced_accuracy" with it: plain accuracy prefers weights that favour the frequent classes.
        mixup: Alpha of mixup (Zhang et al. 2018, arXiv 1710.09412), which blends pictures and targets of a batch two
            by two in steps on pictures; 0 for none. By default 0.4 where "lp-ft" moves a backbone under classes or
            labels, since a head that fits its training pictures already would else only grow sure of itself.
        cutmix: Alpha of cutmix (Yun et al. 2019, arXiv 1905.04899), which lays a box of one picture over another; 0
            for none. With mixup too, each batch takes one of them at random.
        views: How many varied versions of each training picture the head of "probe" and "lp-ft" is fitted on beside
            the picture itself, which costs as many passes. By default 4 for "lp-ft", where the passes of the second
            phase cost more, and 0 for "probe".
        ema: Share of a phase's steps that the running average of the weights looks back over; 0 for none. By default
            0.5 for what starts from a fitted head.
        monitor: The metric on validation that chooses among the epochs; the task's own by default.
        seed: Seeds the split, the head, the order and the augmentation: one seed, one result.
        accelerator: As Lightning's Trainer takes it, and so the next four.
        devices: How many, or which, or "auto" for all.
        num_nodes: Machines.
        strategy: "auto" is one process a device with gradients averaged (DDP) where there are several.
        precision: "auto" is "bf16-mixed" on GPUs that have it, else "32-true".
        workers: Processes that read pictures while training; None for a number that suits the machine.
        cache: Keeps pictures decoded between epochs: "ram" while the run lasts, "disk" for later runs too, "auto" in
            memory where a quarter of what is free holds them, else on the disk where they fit, "off". Pictures larger
            than crops need are then resized once before; which of the three holds them changes nothing else.
        phases: The phases themselves, instead of a method's.

    Raises:
        ConfigError: All that is wrong, at once.
    """

    method: str = "lp-ft"
    epochs: int = 10
    head_epochs: int = 3
    batch_size: int = 32
    accumulate: int = 1
    optimizer: Literal["auto", "sgd", "adamw"] = "auto"
    lr: float | None = None
    layer_decay: float = 0.9
    weight_decay: float | None = None
    warmup: float = 0.1
    gradient_clip: float = 1.0
    norms: Literal["auto", "frozen", "train"] = "auto"
    augment: str = "auto"
    augment_engine: Literal["albumentations", "torchvision"] = "albumentations"
    mirror_target: Literal["keep", "negate"] = "keep"
    sampler: Literal["shuffle", "balanced", "sqrt"] = "shuffle"
    mixup: float | None = None
    cutmix: float = 0.0
    views: int | None = None
    ema: float | None = None
    monitor: str | None = None
    seed: int = 0
    accelerator: str = "auto"
    devices: int | str | tuple[int, ...] = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    cache: Literal["auto", "ram", "disk", "off"] = "auto"
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        wrong = []
        if self.method not in METHODS:
            known = ", ".join(METHODS)
            wrong.append(f'Unknown method "{self.method}". Expected one of {known}.' + nearest(self.method, METHODS))
        if self.augment not in POLICIES:
            wrong.append(
                f'Unknown augment "{self.augment}". Expected one of {", ".join(POLICIES)}.'
                + nearest(self.augment, POLICIES)
            )
        for name, least in (("epochs", 1), ("head_epochs", 1), ("batch_size", 1), ("accumulate", 1), ("num_nodes", 1)):
            if getattr(self, name) < least:
                wrong.append(f"{name} must be {least} or more. Got {getattr(self, name)}.")
        if self.augment_engine not in ENGINES:
            wrong.append(
                f'Unknown augment_engine "{self.augment_engine}". Expected one of {", ".join(ENGINES)}.'
                + nearest(self.augment_engine, ENGINES)
            )
        varied = VARIATIONS.get(self.augment)
        if self.mirror_target == "negate" and varied is not None and "mirror" in varied.never:
            wrong.append(
                f'mirror_target "negate" is for pictures that are mirrored, which the augment "{self.augment}" never '
                "does. Leave one of them out."
            )
        if self.mirror_target not in ("keep", "negate"):
            wrong.append(f'mirror_target must be "keep" or "negate". Got {self.mirror_target!r}.')
        if self.optimizer not in ("auto", "sgd", "adamw"):
            wrong.append(f'optimizer must be "auto", "sgd" or "adamw". Got {self.optimizer!r}.')
        if self.precision not in PRECISIONS:
            wrong.append(
                f'Unknown precision "{self.precision}". Expected one of {", ".join(PRECISIONS)}.'
                + nearest(self.precision, PRECISIONS)
            )
        wrong += self._wrong_in_sampling()
        if self.mirror_target == "negate" and any(phase.views for phase in self.phases):
            wrong.append(
                'Views of a phase on features are not negated with their pictures, as mirror_target="negate" asks. '
                "Expected views=0 in the phases."
            )
        if self.cache not in CACHES:
            wrong.append(f'Unknown cache "{self.cache}". Expected one of {", ".join(CACHES)}.')
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            wrong.append(f"Phases need names of their own. Got {', '.join(names)}.")
        on = [phase.on for phase in self.phases]
        if "features" in on[1:]:
            wrong.append("A phase on features must be the first: features are those of the backbone as it is loaded.")
        if self.lr is not None and not self.lr > 0:
            wrong.append(f"lr must be above 0. Got {self.lr}.")
        if not 0 < self.layer_decay <= 1:
            wrong.append(f"layer_decay must be above 0 and at most 1. Got {self.layer_decay}.")
        if not 0 <= self.warmup < 1:
            wrong.append(f"warmup is a share of the steps, from 0 to below 1. Got {self.warmup}.")
        for name in ("weight_decay", "gradient_clip", "seed"):
            if (getattr(self, name) or 0) < 0:
                wrong.append(f"{name} must be 0 or more. Got {getattr(self, name)}.")
        if self.workers is not None and self.workers < 0:
            wrong.append(f"workers must be 0 or more. Got {self.workers}.")
        if self.norms not in ("auto", "frozen", "train"):
            wrong.append(f'norms must be "auto", "frozen" or "train". Got {self.norms!r}.')
        if isinstance(self.devices, int) and self.devices < 1:
            wrong.append(f'devices must be 1 or more, or "auto". Got {self.devices}.')
        if isinstance(self.devices, str) and not re.fullmatch(r"auto|\d+(,\d+)*,?", self.devices):
            wrong.append(f'devices must be a number, numbers such as 0,1, or "auto". Got {self.devices!r}.')
        if wrong:
            raise ConfigError("\n".join(wrong))

    def _wrong_in_sampling(self) -> list[str]:
        wrong = []
        if self.sampler not in SAMPLERS:
            wrong.append(
                f'Unknown sampler "{self.sampler}". Expected one of {", ".join(SAMPLERS)}.'
                + nearest(self.sampler, SAMPLERS)
            )
        for name in ("mixup", "cutmix"):
            if not 0 <= (getattr(self, name) or 0.0) < float("inf"):
                wrong.append(f"{name} is 0 for none, or the alpha of a Beta distribution. Got {getattr(self, name)}.")
        steps = any(phase.on == "pictures" for phase in self.phases) if self.phases else self.method != "probe"
        idle = [
            name for name in ("sampler", "mixup", "cutmix", "ema") if getattr(self, name) not in ("shuffle", 0, None)
        ]
        if not 0 <= (self.ema or 0.0) <= 1:
            wrong.append(f"ema is a share of the steps of a phase, from 0 to 1. Got {self.ema}.")
        if (self.views or 0) < 0:
            wrong.append(f"views must be 0 or more. Got {self.views}.")
        if self.views and not self.phases and self.method not in ("probe", "lp-ft"):
            wrong.append(
                f'views are for a head that is fitted on features; method "{self.method}" fits none. Leave it out.'
            )
        if idle and not steps:
            wrong.append(
                f"{', '.join(idle)} would do nothing: a probe fits its head on the features of all pictures at once. "
                "Expected a method that takes steps on pictures; against rare classes, class_weight or loss."
            )
        return wrong

    def for_kind(self, kind: Kind) -> Plan:
        """The plan with the augmentation that suits this kind of target, where the user names none.

        Raises:
            ConfigError: A sampler, a way of mixing or of mirroring that this kind does not have.
        """
        wrong = []
        negate = self.mirror_target == "negate"
        if negate and kind != "number":
            wrong.append(
                f'mirror_target "negate" is for numbers, a steering angle say. The targets are of kind {kind!r}: leave '
                "it out."
            )
        if kind == "number" and self.sampler != "shuffle":
            wrong.append(
                f'The target is a number, which has no classes to balance. Expected sampler="shuffle". '
                f'Got "{self.sampler}".'
            )
        if kind == "number" and self.cutmix:
            wrong.append(
                "The target is a number, which a box of another picture does not change by its share. "
                f"Expected mixup or none. Got cutmix={self.cutmix:g}."
            )
        if wrong:
            raise ConfigError("\n".join(wrong))
        mixup, augment = self.mixup, self.augment
        if mixup is None:
            mixup = TUNE_MIXUP if self.method == "lp-ft" and not self.phases and kind != "number" else 0.0
        if augment == "auto" and kind == "number":
            augment = "light" if negate else "documents"
        return replace(self, mixup=mixup, augment=augment)

    def build(self, *, pretrained: bool) -> tuple[Phase, ...]:
        """The phases of the method.

        Args:
            pretrained: The backbone's weights are worth keeping: its stages then move less the further they are from
                the head, and its normalisation statistics stay.
        """
        if self.phases:
            return self.phases
        norms: Any = ("frozen" if pretrained else "train") if self.norms == "auto" else self.norms
        fresh = Phase(
            name="fine-tune" if pretrained else "train",
            epochs=self.epochs,
            optimizer="sgd" if self.optimizer == "sgd" else "adamw",
            lr=self.lr or FRESH_RATE[self.optimizer == "sgd"],
            layer_decay=self.layer_decay if pretrained else 1.0,
            norms=norms,
            augment="light" if self.augment == "auto" else self.augment,
            ema=self.ema or 0.0,
        )
        # What has a fitted head already starts from a good place, if its backbone is any good.
        sgd = pretrained if self.optimizer == "auto" else self.optimizer == "sgd"
        tune = replace(
            fresh, optimizer="sgd" if sgd else "adamw", lr=self.lr or (TUNE_RATE if pretrained else FRESH_RATE)[sgd],
            ema=TUNE_EMA if self.ema is None else self.ema,
        )  # fmt: skip
        views = self.views if self.views is not None else LP_FT_VIEWS if self.method == "lp-ft" else 0
        if self.augment == "none" or self.mirror_target == "negate":
            views = 0  # they would all be the picture itself; or targets would have to turn with them
        probe = Phase(
            name="probe", learns="head", on="features", views=views, augment=fresh.augment if views else "none"
        )
        if self.method == "lp-ft" and self.augment == "auto":
            tune = replace(tune, augment=TUNE_POLICY)
        return {
            "probe": (probe,),
            "full": (fresh,),
            "head-then-full": (replace(fresh, name="head", learns="head", epochs=self.head_epochs), tune),
            "lp-ft": (probe, tune),
        }[self.method]
