"""The front door: examples and a backbone in, a model out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .data.options import Data
from .recipe import Recipe
from .running.begin import begin
from .tasks.options import Loss

if TYPE_CHECKING:
    from rich.console import Console

    from .evaluate import Metrics
    from .explaining.explanation import Explanation
    from .model import Model


def fit(
    source: Any = None,
    *,
    backbone: str | None = None,
    backbone_arg: Mapping[str, Any] | None = None,
    weights: str | None = None,
    in_chans: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: int | None = None,
    crop: Literal["crop", "pad", "squish"] | None = None,
    head: Literal["linear", "mlp", "embedding"] | None = None,
    dropout: float | None = None,
    hidden: int | None = None,
    embedding_size: int | None = None,
    method: Literal[
        "auto",
        "probe",
        "full",
        "head-then-full",
        "lp-ft",
        "gradual",
        "lora",
        "l2-sp",
        "surgical",
        "bias-norm",
        "distill",
    ]
    | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    time: str | float | None = None,
    head_epochs: int | None = None,
    patience: int | None = None,
    stage: str | None = None,
    freeze_to: str | None = None,
    sizes: Sequence[int] | int | None = None,
    lora_rank: int | None = None,
    lora_alpha: float | None = None,
    teacher: str | None = None,
    teacher_weight: float | None = None,
    temperature: float | None = None,
    batch_size: int | Literal["auto"] | None = None,
    accumulate: int | None = None,
    effective_batch: int | None = None,
    optimizer: Literal["auto", "sgd", "plain-sgd", "adamw", "lars", "lamb", "rmsprop"] | None = None,
    lr: float | Literal["auto"] | None = None,
    scale_lr: bool | None = None,
    reference_batch: int | None = None,
    layer_decay: float | None = None,
    weight_decay: float | None = None,
    schedule: Literal["cosine", "one-cycle", "step", "constant"] | None = None,
    milestones: Sequence[float] | float | None = None,
    step_factor: float | None = None,
    warmup: float | None = None,
    warmup_epochs: float | None = None,
    gradient_clip: float | None = None,
    norms: Literal["auto", "frozen", "train"] | None = None,
    zero_gamma: bool | None = None,
    augment: Literal[
        "auto",
        "none",
        "light",
        "standard",
        "strong",
        "trivial",
        "rand",
        "medical",
        "any-angle",
        "digits",
        "elastic",
        "documents",
    ]
    | None = None,
    augment_engine: Literal["albumentations", "torchvision"] | None = None,
    mirror_target: Literal["keep", "negate"] | None = None,
    sampler: str | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    views: int | None = None,
    ema: float | None = None,
    soup: int | None = None,
    settle: Literal["interpolate", "best", "last"] | None = None,
    compile: bool | None = None,
    grad_checkpointing: bool | None = None,
    monitor: str | None = None,
    task: Literal["classify", "tag", "regress", "embed"] | None = None,
    class_weight: Literal["balanced", "sqrt"] | Mapping[str, float] | None = None,
    label_smoothing: float | None = None,
    loss: Loss | None = None,
    focal_gamma: float | None = None,
    sharpness: float | None = None,
    margin: float | None = None,
    scale: Sequence[str] | None = None,
    operate: str | None = None,
    coverage: float | None = None,
    taxonomy: str | Mapping[str, Any] | None = None,
    max_class_size: int | None = None,
    layout: Literal["pets", "skin-lesions", "chest-xrays", "driving", "driving-three-cameras", "documents", "products"]
    | None = None,
    image: str | None = None,
    target: str | Sequence[str] | None = None,
    delimiter: str | None = None,
    group: str | None = None,
    group_from: str | None = None,
    split: str | None = None,
    no_header: bool | None = None,
    root: str | None = None,
    label_from: str | None = None,
    validation: float | None = None,
    test: float | None = None,
    hold_out: Literal["auto", "pictures", "classes"] | None = None,
    on_corrupt: Literal["stop", "skip"] | None = None,
    order: str | None = None,
    stretches: int | None = None,
    gap: int | None = None,
    folds: int | None = None,
    copies: Literal["find", "exact", "ignore"] | None = None,
    allow_leaks: bool | None = None,
    by: str | Sequence[str] | None = None,
    seed: int | None = None,
    accelerator: str | None = None,
    devices: int | str | Sequence[int] | None = None,
    num_nodes: int | None = None,
    strategy: str | None = None,
    precision: str | None = None,
    workers: int | None = None,
    cache: Literal["auto", "ram", "disk", "off"] | None = None,
    log: Sequence[str] | str | None = None,
    checkpoint_every: str | float | None = None,
    rank_timeout: str | float | None = None,
    on_nan: Literal["stop", "rollback"] | None = None,
    recipe: Recipe | str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: str | Path | None = None,
    verbose: bool | Console = True,
    callbacks: Sequence[Any] = (),
    logger: Any = False,
    trainer: Mapping[str, Any] | None = None,
) -> Model:
    """Fine-tunes a pretrained backbone on examples of one's own.

    Options that are not given keep the default of the value they belong to (`Data`, `Backbone`, `Plan`, ...), or
    what `recipe` says.

    Args:
        source: Folder, table, .tar archives, .npz file, URL, DataFrame, Hugging Face Dataset, list of (path, label),
            pair (arrays, targets), or Recipe.
        backbone: timm/NAME[.TAG], torchvision/NAME, finetune/NAME; a bare name is timm's or torchvision's [resnet50].
        backbone_arg: Arguments for the network's constructor, pad_type=same say.
        weights: "default" downloads the pretrained weights, a path reads them, "none" starts from random numbers.
        in_chans: Channels of the pictures; pretrained filters are kept [3].
        mean: Overrides the weights' own normalisation of pictures in 0..1: one number, or one a channel.
        std: Overrides what they are then divided by: one number, or one a channel.
        input_size: The side in pixels of the network's input [the weights' own; 9/7 of it where a method moves the
            backbone after a probe, the network takes any size and half of up to 500 pictures have that many].
        crop: What becomes of pictures that are not square: "crop" loses the rim, "pad" adds one, "squish" squeezes them
            [the weights' own].
        head: "linear", "mlp", or for embed "embedding" [linear].
        dropout: Share of the features that the head loses while training.
        hidden: Width of the "mlp" head [512].
        embedding_size: How many numbers the "embedding" of a picture has [512].
        method: What moves when; "auto" is "lp-ft", "probe" for a handful of examples, "full" for random weights [auto].
        epochs: Length of the phases that move the backbone, in passes over the training pictures [3 to 10, fewer the
            more there are].
        steps: Their length in steps of the optimizer instead.
        time: How long the whole run may take instead: 10m, 90s, 1.5h.
        head_epochs: Length of the first phase of "head-then-full" [3].
        patience: Ends a phase after so many epochs that are no better; 0 never does [0].
        stage: The stage that "surgical" trains; a wrong name lists them.
        freeze_to: The lowest stage that moves, instead of all; "none" for all [as the data decides].
        sizes: Sides of smaller training pictures in phases before the last: 128,160.
        lora_rank: Rank of the matrices that "lora" adds [8].
        lora_alpha: Their product is scaled by lora_alpha / lora_rank [16].
        teacher: The run folder that "distill" learns from.
        teacher_weight: Share of the loss that is the distance from the teacher's answers [0.5].
        temperature: What logits are divided by in that distance [2].
        batch_size: Pictures a step on each device; "auto" takes what an accelerator's memory holds [32].
        accumulate: Steps whose gradients are added before the weights move [1].
        effective_batch: Pictures a step in all; gradients of as many batches are added as that takes.
        optimizer: "sgd", "plain-sgd" without momentum, "adamw", "rmsprop", for large batches "lars" or "lamb"; by
            default what suits the phase.
        lr: The head's rate at its height, never scaled silently; "auto" looks for it by a range test [the method's
            own].
        scale_lr: Multiplies rates by the pictures a step over reference_batch.
        reference_batch: The pictures a step that lr is for, where it scales [256].
        layer_decay: What the rate is multiplied by from one stage to the one below [0.9].
        weight_decay: Of weights towards 0; not of biases and normalisation [0.05 with adamw, 0.0001 with sgd].
        schedule: How rates run over the steps: "cosine", "one-cycle", "step" or "constant" [cosine].
        milestones: Epochs after which the rate of "step" falls: 30,60,80 [at 1/3, 2/3 and 8/9].
        step_factor: What it is multiplied by then [0.1].
        warmup: Share of a phase's steps in which the rate rises [0.1].
        warmup_epochs: The rise in epochs instead; with scale_lr from the rate unscaled.
        gradient_clip: Largest norm of the gradient of a step; 0 for no bound [1].
        norms: "frozen" keeps the running statistics of normalisation, "train" lets them move [auto].
        zero_gamma: Starts fresh residual blocks at nothing; for random weights.
        augment: "none", "light", "standard", "strong", "trivial", "rand", "medical", "any-angle", "digits", "elastic"
            or "documents" [light; standard where lp-ft moves the backbone; documents where the target is a number].
        augment_engine: The library that varies the pictures; both draw the same [albumentations].
        mirror_target: "negate" changes the sign of a number whose picture is mirrored: a steering angle [keep].
        sampler: "balanced" takes each class equally often, "sqrt" by the square root of its frequency, "m-per-class"
            puts 4 pictures of each class into a step, "8-per-class" 8 [shuffle; for embed m-per-class].
        mixup: Alpha of mixup, which blends pictures and targets two by two; 0 for none [0.4 in lp-ft, else 0].
        cutmix: Alpha of cutmix, which lays a box of one picture over another; 0 for none [0].
        views: Varied versions of each training picture that a head on features is fitted on [4 in lp-ft, else 0].
        ema: Share of a phase's steps that the average of the weights looks back over; 0 for none [0.5 after a probe].
        soup: Averages up to so many of a phase's best epochs where validation agrees; 0 for none [0].
        settle: "interpolate" ends between the probe and what moved, as far as losses of validation tell; "best" with
            the best epoch of all, "last" with the last [interpolate].
        compile: Compiles the network for the steps on pictures.
        grad_checkpointing: Computes activations twice instead of keeping them: less memory, more time.
        monitor: The metric on validation that chooses among epochs, and may not get worse where weights move from a
            probe [accuracy, auroc, rmse or map_at_r].
        task: "classify", "tag" or "regress"; inferred from the targets where not given. "embed" finds what is alike.
        class_weight: "balanced", its square root "sqrt", or a mapping from class to weight.
        label_smoothing: Share of the target that is spread over all classes [0].
        loss: "logit-adjusted" and "balanced-softmax" are for classes, "focal" also for labels, "asymmetric" for labels
            alone, "mse" and "huber" for a number, the last three for embed [cross-entropy; mse for a number;
            normalised-softmax for embed].
        sharpness: What cosines are multiplied by in a loss of embed [20, proxy-anchor 32, sup-con 10].
        margin: How far the cosines of proxy-anchor must be on the right side [0.1].
        focal_gamma: Power of (1 - p) in the focal loss; 0 is cross-entropy [2].
        scale: The classes from the lowest to the highest, where they are levels: for kappa [whole numbers are].
        operate: A rate that one class, or every label, is answered at: "[CLASS:]sensitivity>=0.95", or specificity,
            precision, recall; the threshold is fitted on validation. "any:precision>=0.99" abstains from the rest.
        coverage: Share of right answers that sets of classes, or intervals of a number, hold: 0.9.
        taxonomy: A tree on which the classes lie, in YAML, JSON, or a table of child and parent: the model then answers
            at every node, and each level of the tree is measured.
        max_class_size: Nodes of the tree with fewer examples are one class with all below them; 1 trains the classes
            as they are, 1000 is the paper's [1].
        layout: The data set whose own files the source holds; split=official then keeps its makers' division.
        image: Column of a table that holds the picture's path.
        target: Column that holds the answer, or several columns of 0 and 1.
        delimiter: What separates several labels in one cell.
        group: Column whose equal values must stay on one side of a split: patient, lesion, product.
        group_from: Regular expression that takes the group from the file name.
        split: Column that says which part an example belongs to.
        no_header: The table has no header; columns are numbers from 0.
        root: Folder that the paths of a table are relative to.
        label_from: Regular expression that takes the label from the file name, "^(cat|dog)" say.
        validation: Share of the examples for validation, where no split is given [0.15].
        test: Share of the examples for the test part, where no split is given [0.15].
        hold_out: Of what these parts are made: "pictures", or "classes" that are never trained [for embed classes].
        on_corrupt: "stop" with the list of pictures that cannot be read, or "skip" them and say how many [stop].
        order: Column of times or numbers, or "row": the earliest examples train, the latest are the test part.
        stretches: Cuts each sequence into so many stretches of neighbours in `order`, and deals those out.
        gap: Examples that are left out on each side of a border between two parts in `order` [0].
        folds: So many runs, each holding out other examples; the model averages theirs.
        copies: Pictures that stay on one side: "find" looks for changed copies, "exact" for the same pixels [find].
        allow_leaks: Goes on where pictures on two sides of the split give each other away, and says so.
        by: Columns by whose values figures are told apart too, site,device say [size and brightness of pictures].
        seed: One seed, one result [0].
        accelerator: As Lightning's Trainer takes it: "auto", "cpu", "gpu", ... [auto].
        devices: How many, or which, or "auto" [auto].
        num_nodes: Machines [1].
        strategy: As Lightning's Trainer takes it; "auto" is DDP where there are several devices [auto].
        precision: As Lightning's Trainer takes it; "auto" is bf16-mixed on GPUs that have it [auto].
        workers: Processes that read pictures while training.
        cache: "ram", "disk" or "off": where pictures are kept decoded between epochs [auto: memory, else the disk].
        checkpoint_every: How often it is written down between two steps where training stands, 10m or 90s [10m].
        rank_timeout: Names the process that several others wait for, and ends the run, after so long [20m].
        on_nan: "stop" where a loss is no number, or "rollback": back to the last checkpoint, and on at half the rate
            [stop].
        log: Where figures of steps go: "csv", "tensorboard", "wandb", "mlflow" or "none", with commas [csv, and
            tensorboard where it is installed].
        recipe: A Recipe, a run folder or its recipe.json: says what the other options do not; a run's split is kept.
        out: The run folder; without it a temporary one.
        overwrite: Replaces an earlier run in `out`.
        resume: A run folder whose run was interrupted: goes on with it, and ends as it would have ended.
        verbose: Prints the plan, the progress and the figures; a rich Console says where.
        callbacks: For Lightning's Trainer.
        logger: For Lightning's Trainer.
        trainer: Further keywords of Lightning's Trainer.

    Returns:
        The model, which is also on disk in `out`.

    Raises:
        ConfigError: Options that cannot be right; before any file is read.
        DataError: Examples that cannot be used as they are.
        WeightsError: Weights that cannot be had or do not fit.
        TrainingError: A run that went wrong.
    """
    words = {
        name: value
        for name, value in locals().items()
        if name not in ("source", "recipe", "out", "overwrite", "resume", "verbose", "callbacks", "logger", "trainer")
    }
    return begin(
        source, words, recipe=recipe, out=out, overwrite=overwrite, resume=resume, verbose=verbose, callbacks=callbacks,
        logger=logger, trainer=trainer,
    )  # fmt: skip


def evaluate(model: Model | str | Path, source: Any, **options: Any) -> Metrics:
    """How good a model is on examples whose answers are known.

    Args:
        model: A model, or its run folder.
        source: As for `fit`.
        options: As for `Model.evaluate`.

    Returns:
        As `Model.evaluate`.
    """
    data = source if isinstance(source, Data) else None
    from .model import load

    loaded = load(model) if isinstance(model, str | Path) else model
    return loaded.evaluate(data or source, **options)


def explain(model: Model | str | Path, inputs: Any, **options: Any) -> list[Explanation]:
    """Where in pictures a model's answers come from.

    Args:
        model: A model, or its run folder.
        inputs: As for `Model.predict`.
        options: As for `Model.explain`.

    Returns:
        As `Model.explain`.
    """
    from .model import load

    loaded = load(model) if isinstance(model, str | Path) else model
    return loaded.explain(inputs, **options)
