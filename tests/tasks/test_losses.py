"""Every loss is its paper's formula, on shares as on classes, and the same for ranks as for one process."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.tasks import losses
from finetune.tasks.options import Classify, Regress, Tag

CLASSES = Labels(kind="class", names=("ant", "bee", "cat"))
TAGS = Labels(kind="labels", names=("red", "round", "small"))
TRAINING = ["ant"] * 12 + ["bee"] * 3 + ["cat"] * 5
TAGGED = [("red",)] * 9 + [("red", "round")] * 4 + [("small",)] * 2 + [()] * 5
WEIGHTS = {"bee": 3.0}

CLASSIFY = [
    Classify(),
    Classify(label_smoothing=0.1, class_weight=WEIGHTS),
    Classify(class_weight="balanced"),
    Classify(class_weight="sqrt"),
    Classify(loss="focal"),
    Classify(loss="focal", focal_gamma=0.5, class_weight="balanced", label_smoothing=0.1),
    Classify(loss="logit-adjusted"),
    Classify(loss="balanced-softmax", class_weight=WEIGHTS, label_smoothing=0.1),
]
TAG = [
    Tag(),
    Tag(class_weight="balanced"),
    Tag(class_weight="sqrt"),
    Tag(loss="focal"),
    Tag(loss="focal", focal_gamma=0.5, class_weight={"round": 2.0}),
    Tag(loss="asymmetric"),
    Tag(loss="asymmetric", class_weight="sqrt"),
]
EVERY = CLASSIFY + TAG


def task(options):
    return options.build(CLASSES, TRAINING) if isinstance(options, Classify) else options.build(TAGS, TAGGED)


def batch(options, n=8, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(scale=3, size=(n, 3))).to(dtype)
    target = rng.integers(0, 3, n) if isinstance(options, Classify) else rng.integers(0, 2, (n, 3)).astype(np.float32)
    return logits, torch.from_numpy(target)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


COUNTS = np.array([12.0, 3.0, 5.0])
NAMED = np.array([1.0, 3.0, 1.0]) / ((12 + 9 + 5) / 20)


def written_out(options, logits, target):
    """The loss from its paper, in plain numpy, of (N, K) shares."""
    if isinstance(options, Tag):
        positives = np.array([13.0, 4.0, 2.0])
        odds = (20 - positives) / positives
        weight = {None: np.ones(3), "balanced": odds, "sqrt": odds**0.5}.get(
            options.class_weight if not isinstance(options.class_weight, dict) else "", np.array([1.0, 2.0, 1.0])
        )
        p = sigmoid(logits)
        there, gone = -np.log(p), -np.log(1 - p)
        if options.loss == "focal":
            there, gone = (1 - p) ** options.focal_gamma * there, p**options.focal_gamma * gone
        if options.loss == "asymmetric":
            low = np.maximum(p - 0.05, 0)
            gone = low**4 * -np.log(1 - low)
        return np.mean(target * weight * there + (1 - target) * gone)
    weight = {None: np.ones(3), "balanced": 20 / (3 * COUNTS), "sqrt": COUNTS**-0.5 * 20 / (COUNTS**0.5).sum()}.get(
        options.class_weight if not isinstance(options.class_weight, dict) else "", NAMED
    )
    if options.loss == "logit-adjusted":
        logits = logits + np.log(COUNTS / 20)
    if options.loss == "balanced-softmax":
        powers = COUNTS * np.exp(logits)
        p = powers / powers.sum(axis=1, keepdims=True)
    else:
        p = softmax(logits)
    target = target * (1 - options.label_smoothing) + options.label_smoothing / 3
    power = (1 - p) ** options.focal_gamma if options.loss == "focal" else 1
    return (weight * target * power * -np.log(p)).sum() / len(logits)


def as_shares(target):
    return functional.one_hot(target, 3).double() if target.ndim == 1 else target.double()


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{type(o).__name__}-{o.summary}")
@pytest.mark.parametrize("soft", [False, True])
def test_a_loss_is_the_formula_of_its_paper(options, soft):
    logits, target = batch(options)
    if soft:
        target = torch.lerp(as_shares(target), as_shares(target.flip(0)), 0.3)
    expected = written_out(options, logits.numpy(), as_shares(target).numpy())
    assert float(task(options).loss(logits, target)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{type(o).__name__}-{o.summary}")
def test_shares_of_one_class_are_that_class_and_a_blend_costs_the_blend(options):
    logits, target = batch(options)
    what, other = task(options), target.flip(0)
    whole = what.loss(logits, as_shares(target))
    assert float(whole) == pytest.approx(float(what.loss(logits, target)), rel=1e-6)
    blend = what.loss(logits, torch.lerp(as_shares(other), as_shares(target), 0.7))
    assert float(blend) == pytest.approx(float(0.7 * whole + 0.3 * what.loss(logits, as_shares(other))), rel=1e-6)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{type(o).__name__}-{o.summary}")
def test_the_losses_of_equal_batches_average_to_the_loss_of_them_together(options):
    """Of ranks, say. A mean by the weights of a batch would fail: the halves hold other classes."""
    logits, target = batch(options, n=12)
    order = target.sort(dim=0)[1] if target.ndim == 1 else torch.arange(12)
    logits, target, what = logits[order], target[order], task(options)
    halves = [what.loss(logits[half], target[half]) for half in (slice(0, 6), slice(6, 12))]
    assert float(sum(halves) / 2) == pytest.approx(float(what.loss(logits, target)), rel=1e-9)


@pytest.mark.parametrize("options", [*EVERY, Regress()], ids=lambda o: f"{type(o).__name__}-{o.summary}")
@pytest.mark.parametrize("size", [100.0, 1e4])
def test_gradients_are_finite_for_extreme_logits(options, size):
    if isinstance(options, Regress):
        what, logits, target = options.build(Labels(kind="number", names=()), []), torch.zeros(4, 1), torch.zeros(4)
    else:
        what, (logits, target) = task(options), batch(options, n=30, dtype=torch.float32)
    logits = (logits.sign() * size).requires_grad_(True)
    loss = what.loss(logits, target)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{type(o).__name__}-{o.summary}")
def test_a_confident_mistake_is_still_learned_from(options):
    logits = torch.full((1, 3), 40.0) * torch.tensor([[1.0, -1.0, -1.0]])
    target = torch.tensor([1]) if isinstance(options, Classify) else torch.tensor([[0.0, 1.0, 0.0]])
    logits.requires_grad_(True)
    task(options).loss(logits, target).backward()
    assert logits.grad[0, 1] < -0.1


@pytest.mark.parametrize("words", [{}, {"class_weight": "balanced"}, {"class_weight": WEIGHTS, "label_smoothing": 0.2}])
def test_focal_of_gamma_0_is_cross_entropy(words):
    logits, target = batch(Classify())
    plain, focal = Classify(**words), Classify(**words, loss="focal", focal_gamma=0.0)
    assert float(task(focal).loss(logits, target)) == pytest.approx(float(task(plain).loss(logits, target)), rel=1e-9)
    logits, target = batch(Tag())
    assert torch.allclose(
        task(Tag(loss="focal", focal_gamma=0.0)).loss(logits, target), task(Tag()).loss(logits, target)
    )


def test_of_equally_frequent_classes_adjusted_logits_are_cross_entropy():
    logits, target = batch(Classify())
    values = [
        float(Classify(loss=loss).build(CLASSES, ["ant", "bee", "cat"] * 4).loss(logits, target))
        for loss in ("cross-entropy", "logit-adjusted", "balanced-softmax")
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-9)
    adjusted = float(task(Classify(loss="logit-adjusted")).loss(logits, target))
    assert adjusted != pytest.approx(values[0], rel=1e-3)


def test_answers_and_metrics_are_those_of_the_logits_as_they_are():
    logits, target = batch(Classify(), n=40)
    plain, adjusted = task(Classify()), task(Classify(loss="logit-adjusted"))
    np.testing.assert_array_equal(adjusted.answer(logits), plain.answer(logits))
    measured = adjusted.measure(adjusted.answer(logits), target.numpy())
    assert measured["log_loss"] == pytest.approx(float(functional.cross_entropy(logits, target)))


def test_over_all_training_examples_weights_cost_what_torch_says():
    """Their mean is 1 there, so that a probe is what it was with torch's mean by weight."""
    target = torch.from_numpy(CLASSES.encode(TRAINING))
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for options in (Classify(class_weight="balanced"), Classify(class_weight="sqrt"), Classify(class_weight=WEIGHTS)):
        made = task(options)
        theirs = functional.cross_entropy(logits, target, weight=torch.tensor(made.weight))
        assert float(made.loss(logits, target)) == pytest.approx(float(theirs), rel=1e-5)


def test_on_yes_and_no_focal_loss_is_torchvisions_and_asymmetric_loss_is_timms():
    from timm.loss import AsymmetricLossMultiLabel
    from torchvision.ops import sigmoid_focal_loss

    logits, target = batch(Tag(), n=20)
    theirs = sigmoid_focal_loss(logits, target.double(), alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(losses.sigmoid_focal(logits, target, gamma=2), theirs)
    timms = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=0, clip=0.05)(logits, target).double()
    one = losses.asymmetric(logits, target) * target.numel()
    # Older releases add up, newer ones divide by the number of examples.
    assert min(abs(float(one - timms)), abs(float(one / 20 - timms))) < 1e-4


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{type(o).__name__}-{o.summary}")
def test_logits_of_16_bits_are_summed_in_32(options):
    logits, target = batch(options, dtype=torch.bfloat16)
    made = task(options)
    assert made.loss(logits, target).dtype == torch.float32
    assert float(made.loss(logits, target)) == float(made.loss(logits.float(), target))


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{type(o).__name__}-{o.summary}")
def test_a_task_without_training_targets_can_still_answer(options):
    made = options.build(CLASSES if isinstance(options, Classify) else TAGS, [])
    logits, target = batch(options)
    assert torch.isfinite(made.loss(logits, target)) and np.isfinite(made.answer(logits)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Classify(loss="focl"), 'Did you mean "focal"'),
        (lambda: Classify(loss="asymmetric"), "for this task"),
        (lambda: Tag(loss="logit-adjusted"), "for this task"),
        (lambda: Classify(loss="focal", focal_gamma=-1.0), "focal_gamma must be 0 or more"),
        (lambda: Tag(loss="focal", focal_gamma=float("nan")), "focal_gamma must be 0 or more"),
        (lambda: Classify(loss="balanced-softmax", class_weight="sqrt"), "both make up"),
        (lambda: Classify(class_weight={"a": float("inf")}), "class_weight must be above 0"),
    ],
)
def test_losses_that_cannot_be_right_are_refused(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_the_plain_loss_needs_no_words_and_the_others_have_them():
    assert Classify().summary == Tag().summary == Regress().summary == ""
    assert Classify(loss="focal", class_weight="sqrt").summary == "focal, gamma 2, class weights sqrt"
    assert Regress(loss="huber").summary == "huber"
