"""Everything that is said about training: values, and no more than what can be said before the data is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..data.policies import POLICIES as VARIATIONS
from ..errors import ConfigError
from ..types import Kind
from .methods import METHODS
from .phase import Phase

CACHES = ("auto", "ram", "disk", "off")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
POLICIES = ("auto", *VARIATIONS)
LOGS = ("auto", "csv", "tensorboard", "wandb", "mlflow", "none")
SETTLES = ("interpolate", "best", "last")
ON_NAN = ("stop", "rollback")
MOST_VIEWED = 5_000  # training pictures beyond which a head is fitted without views: they are variety enough


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train: method, lengths, rates, and the machines.

    What is None or "auto" follows from the data and the method (`training/defaults.py`), and is printed.

    Args:
        method: A name of `finetune.list_methods()`, where each says what it does and where it is from; "auto" is
            "lp-ft" for pretrained weights, "probe" where examples are too few for it, "full" for random weights.
        epochs: Length of the phases that move the backbone, in passes over the training pictures.
        steps: Their length in steps of the optimizer instead.
        time: Their length by the clock instead, "10m", "90s", "1.5h" or seconds: how long the whole run may take. A
            trial of a few steps turns it into a number of steps, which is recorded.
        head_epochs: Length of the first phase of "head-then-full".
        patience: Ends a phase after so many epochs without a better `monitor`; 0 never does.
        stage: The stage that "surgical" trains.
        freeze_to: The lowest stage that moves in phases that would move everything; all below stays as it is. "none"
            freezes nothing; where left out the data decides under method "auto", and nothing is frozen under others.
        sizes: Sides in pixels of the training pictures in phases before the last one, which is at the network's own
            size (progressive resizing, Howard 2018); each takes an equal share of the epochs.
        lora_rank: Rank of the matrices that "lora" adds, 1 or more.
        lora_alpha: Their product is scaled by `lora_alpha / lora_rank`.
        teacher: The run folder whose answers "distill" learns from.
        teacher_weight: Share of the loss that is the distance from those answers, in (0, 1].
        temperature: What the logits of both are divided by in that distance, above 0.
        batch_size: Pictures a step on each device. "auto" takes the largest power of 2 up to 256 that the memory of
            an accelerator holds, and 32 on a CPU.
        accumulate: Steps whose gradients are added before the weights move.
        effective_batch: Pictures a step in all, from which `accumulate` follows.
        optimizer: "sgd", "plain-sgd" (without momentum), "adamw", or "auto": "sgd" where everything starts from a good
            place, since its steps shrink with the gradient and leave alone what fits already; "adamw" for what starts
            from nothing. "lars" (You et al. 2017, arXiv 1708.03888) and "lamb" (You et al. 2020, arXiv 1904.00962)
            give each layer a rate of its own, for more than 8,192 pictures a step; they have no rate by default.
        lr: The head's rate at its height; by default the method's own. It is used as given, whatever the batch, unless
            `scale_lr` says otherwise. "auto" looks for it by a range test (Smith 2017, arXiv 1506.01186) before each
            phase on pictures.
        scale_lr: Multiplies all rates by the pictures a step over `reference_batch`: the linear scaling of Goyal et
            al. 2017, arXiv 1706.02677.
        reference_batch: The pictures a step that `lr` is for.
        layer_decay: What the rate is multiplied by from one stage to the next one below, in (0, 1]; it applies to
            pretrained weights only.
        weight_decay: Of weights towards 0 (in "l2-sp" towards the pretrained ones); not of biases and normalisation.
            By default 0.05 with "adamw", where it is decoupled from the gradient, and 0.0001 with "sgd"; in "l2-sp"
            0.1.
        schedule: "cosine", "one-cycle", "step" or "constant", as in `Phase`.
        milestones: Epochs of a phase after which the rate of "step" falls; by default a third, two thirds and eight
            ninths of them, which are 30, 60 and 80 of 90.
        step_factor: What it is multiplied by then, in (0, 1).
        warmup: Share of a phase's steps in which the rate rises, in [0, 1).
        warmup_epochs: The same in epochs instead. Where `scale_lr` raises rates, the rise begins at the rate that was
            not scaled and goes a step at a time (Goyal et al.'s gradual warm-up, of 5 epochs); else it begins near 0.
        gradient_clip: Largest norm of the gradient of a step; 0 for no bound.
        norms: "frozen", "train", or "auto": frozen for pretrained weights, trained for random ones. Each device
            normalises by its own `batch_size` pictures, and not by those of a step.
        zero_gamma: Starts the last normalisation of each residual block at 0, so that a fresh block changes nothing at
            first (Goyal et al. 2017); for random weights alone.
        augment: Policy that varies the training pictures: "light", "standard", "strong", "trivial", "rand", "medical",
            "any-angle", "digits", "elastic", "documents" or "none"; "auto" is "light", "standard" where a fitted head
            and the backbone move, and for a number "documents", which mirrors nothing: a mirrored road turns the
            other way.
        augment_engine: The library that does it, "albumentations" or "torchvision"; both draw the same.
        mirror_target: What becomes of a number when its picture is mirrored: "keep", or "negate" for a steering
            angle; "auto" is then "light" for numbers too.
        sampler: "shuffle" takes each training picture once an epoch; "balanced" each class equally often, "sqrt" in
            proportion to the square root of its frequency, as many pictures in all. Of several labels the rarest
            of a picture counts. "m-per-class" fills each step with classes of 4 pictures each, all classes equally
            often, "8-per-class" of 8. A head that is fitted on features takes each picture once in any case. Say
            monitor="balanced_accuracy" with it: plain accuracy prefers weights that favour the frequent classes.
        mixup: Alpha of mixup (Zhang et al. 2018, arXiv 1710.09412), which blends pictures and targets of a batch two
            by two in steps on pictures; 0 for none.
        cutmix: Alpha of cutmix (Yun et al. 2019, arXiv 1905.04899), which lays a box of one picture over another; 0
            for none. With mixup too, each batch takes one of them at random.
        views: How many varied versions of each training picture a head on features is fitted on beside the picture
            itself, which costs as many passes. By default 4 where later passes cost more, and 0 for "probe".
        ema: Share of a phase's steps that the running average of the weights looks back over; 0 for none. By default
            0.5 for what starts from a fitted head.
        soup: Averages the weights of up to so many of the best epochs of a phase, each only where validation agrees
            (greedy soup: Wortsman et al. 2022, arXiv 2203.05482); 0 for none.
        settle: What becomes of the probe and of what moved since. "interpolate" keeps the weights that the losses of
            validation prefer, by cross-fitting, on the line from it to the end of the last phase (WiSE-FT: Wortsman
            et al. 2022, arXiv 2109.01903); with `patience` or `soup` the line leads to the best epoch. Without a probe
            it keeps the best epoch of any phase, as "best" always does. "last" keeps the last one.
        monitor: The metric on validation that chooses among epochs, and by which weights that moved from a probe may
            not be worse; the task's own by default.
        seed: Seeds the split, the head, the order and the augmentation: one seed, one result.
        compile: Compiles the network for the steps on pictures; where that cannot be had, it is said once.
        grad_checkpointing: Computes activations twice instead of keeping them: less memory, more time.
        accelerator: As Lightning's Trainer takes it, and so the next four.
        devices: How many, or which, or "auto" for all.
        num_nodes: Machines.
        strategy: "auto" is one process a device with gradients averaged (DDP) where there are several.
        precision: "auto" is "bf16-mixed" on GPUs that have it, else "32-true".
        workers: Processes that read pictures while training; None for a number that suits the machine.
        cache: Keeps pictures decoded between epochs: "ram" while the run lasts, "disk" for later runs too, "auto" in
            memory where a quarter of what is free holds them, else on the disk where they fit, "off". Pictures larger
            than crops need are then resized once before; which of the three holds them changes nothing else. With
            "auto" and "disk" also what frozen stages make of pictures is kept on the disk where a phase without
            augmentation moves those above alone.
        checkpoint_every: How often it is written down between two steps where training stands, "10m", "90s" or
            seconds; "0s" at each step. A run that was interrupted goes on from there, and as if it had not been.
        rank_timeout: With several processes, how long none of them may get any further before the one that is behind is
            named and the run ends, "30m" say.
        on_nan: What becomes of a loss or a gradient that is no number: "stop" ends the run, "rollback" goes back to the
            last checkpoint, or the start of the phase, and on at half the rate, up to three times.
        log: Where the figures of steps go: "csv" (steps.csv of the run folder), "tensorboard", "wandb", "mlflow" or
            "none"; "auto" is the table, and TensorBoard where it is installed.
        phases: The phases themselves, instead of a method's.

    Raises:
        ConfigError: All that is wrong, at once.
    """

    method: str = "auto"
    epochs: int | None = None
    steps: int | None = None
    time: str | float | None = None
    head_epochs: int = 3
    patience: int = 0
    stage: str | None = None
    freeze_to: str | None = None
    sizes: tuple[int, ...] = ()
    lora_rank: int = 8
    lora_alpha: float = 16.0
    teacher: str | None = None
    teacher_weight: float = 0.5
    temperature: float = 2.0
    batch_size: int | Literal["auto"] = 32
    accumulate: int = 1
    effective_batch: int | None = None
    optimizer: Literal["auto", "sgd", "plain-sgd", "adamw", "lars", "lamb", "rmsprop"] = "auto"
    lr: float | Literal["auto"] | None = None
    scale_lr: bool = False
    reference_batch: int = 256
    layer_decay: float = 0.9
    weight_decay: float | None = None
    schedule: Literal["cosine", "one-cycle", "step", "constant"] = "cosine"
    milestones: tuple[float, ...] = ()
    step_factor: float = 0.1
    warmup: float = 0.1
    warmup_epochs: float | None = None
    gradient_clip: float = 1.0
    norms: Literal["auto", "frozen", "train"] = "auto"
    zero_gamma: bool = False
    augment: str = "auto"
    augment_engine: Literal["albumentations", "torchvision"] = "albumentations"
    mirror_target: Literal["keep", "negate"] = "keep"
    sampler: str = "auto"
    mixup: float | None = None
    cutmix: float = 0.0
    views: int | None = None
    ema: float | None = None
    soup: int = 0
    settle: Literal["interpolate", "best", "last"] = "interpolate"
    monitor: str | None = None
    seed: int = 0
    compile: bool = False
    grad_checkpointing: bool = False
    accelerator: str = "auto"
    devices: int | str | tuple[int, ...] = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    cache: Literal["auto", "ram", "disk", "off"] = "auto"
    checkpoint_every: str | float = "10m"
    rank_timeout: str | float = "20m"
    on_nan: Literal["stop", "rollback"] = "stop"
    log: tuple[str, ...] = ("auto",)
    phases: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        from .faults import faults

        if wrong := faults(self):
            raise ConfigError("\n".join(wrong))

    @property
    def batch(self) -> int:
        """Pictures a step on each device; 32 as long as "auto" is not decided."""
        return 32 if self.batch_size == "auto" else self.batch_size

    @property
    def moves(self) -> bool:
        """Whether any phase takes steps on pictures."""
        return any(phase.on == "pictures" for phase in self.phases) if self.phases else self.method != "probe"

    def check_kind(self, kind: Kind) -> None:
        """Refuses what this kind of target does not have.

        Raises:
            ConfigError: A sampler, a way of mixing or of mirroring.
        """
        wrong = []
        if self.mirror_target == "negate" and kind != "number":
            wrong.append(
                f'mirror_target "negate" is for numbers, a steering angle say. The targets are of kind {kind!r}: leave '
                "it out."
            )
        if kind == "number" and self.sampler not in ("auto", "shuffle"):
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

    def build(self, *, pretrained: bool, stages: Sequence[str] = ()) -> tuple[Phase, ...]:
        """The phases of the method.

        Args:
            pretrained: The backbone's weights are worth keeping: its stages then move less the further they are from
                the head, and its normalisation statistics stay.
            stages: The names of its stages from input to head.

        Raises:
            ConfigError: A method that this backbone cannot do, or a stage that it does not have.
        """
        if self.phases:
            return self.phases
        method = METHODS[self.method if self.method != "auto" else "lp-ft" if pretrained else "full"]
        return method.phases(self, pretrained=pretrained, stages=stages)

    def measured(self, phases: Sequence[Phase]) -> Plan:
        """The plan with phases whose rates and lengths were measured, as it is recorded: a run of it measures nothing.

        Args:
            phases: As they ran.
        """
        return replace(self, phases=tuple(phases), time=None, lr=None)
