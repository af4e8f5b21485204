"""Each method on real steps: what moves, what it decays to, what it learns from."""

from dataclasses import replace

import pytest
import torch

import finetune as ft
from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.training.methods import METHODS
from finetune.training.phase import Phase
from finetune.training.teaching import Teacher
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, state, tiny

PLAN = ft.Plan(
    accelerator="cpu", devices=1, workers=0, batch_size=8, epochs=2, lr=0.02, monitor="log_loss", settle="last",
    mixup=0.0, views=0, augment="none",
)  # fmt: skip


def run(folder, textures, plan, network=None, teacher=None, phases=None):
    network = network or tiny()
    what, task = lesson(textures, network)
    phases = phases or plan.build(pretrained=True, stages=[stage.name for stage in network.stages])
    outcome = transfer(network, task, what, plan, phases, around(folder, plan), say=lambda line: None, teacher=teacher)
    return network, outcome, task


def moved(before, network):
    return {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("surgical", "distill")])
def test_every_method_learns_and_leaves_an_ordinary_network(tmp_path, textures, method):
    network = tiny()
    before = state(network)
    plan = replace(PLAN, method=method, views=None if not METHODS[method].probes else 0)
    network, outcome, _ = run(tmp_path, textures, plan, network)
    assert list(network.state_dict()) == list(before) and all(p.requires_grad for p in network.parameters())
    assert "head.weight" in moved(before, network) and outcome.chosen.score < 1.2
    body = {name for name in moved(before, network) if name.startswith("body.")}
    assert bool(body) == (method != "probe")


def test_surgical_moves_one_stage_and_the_head(tmp_path, textures):
    network = tiny()
    before, stage = state(network), network.stages[1]
    network, *_ = run(tmp_path, textures, replace(PLAN, method="surgical", stage=stage.name), network)
    assert moved(before, network) <= {*stage.parameters, "head.weight", "head.bias"}
    assert moved(before, network) & set(stage.parameters)


def test_bias_norm_moves_no_matrix_of_the_body(tmp_path, textures):
    network = tiny()
    before = state(network)
    network, *_ = run(tmp_path, textures, replace(PLAN, method="bias-norm"), network)
    assert all(before[name].ndim <= 1 for name in moved(before, network) if name.startswith("body."))
    assert "body.bn1.bias" in moved(before, network)


def test_lora_moves_matrices_by_no_more_than_their_rank_and_nothing_else(tmp_path, textures):
    network = tiny()
    before = state(network)
    network, *_ = run(tmp_path, textures, replace(PLAN, method="lora", lora_rank=2, lr=0.05), network)
    assert {name for name in moved(before, network) if name.startswith("body.")} == {"body.conv2.weight"}
    change = (network.state_dict()["body.conv2.weight"] - before["body.conv2.weight"]).flatten(1)
    assert torch.linalg.matrix_rank(change, atol=1e-5) <= 2


def test_l2_sp_stays_nearer_to_where_it_came_from(tmp_path, textures):
    far = {}
    for method, decay in (("lp-ft", None), ("l2-sp", 20.0)):
        network = tiny()
        before = state(network.body)
        run(tmp_path / method, textures, replace(PLAN, method=method, weight_decay=decay), network)
        after = network.body.state_dict()
        far[method] = sum(float((after[n] - t).square().sum()) for n, t in before.items() if t.is_floating_point())
    assert 0 < far["l2-sp"] < 0.9 * far["lp-ft"]


def test_a_pull_without_end_leaves_the_body_where_it_was(tmp_path, textures):
    network = tiny()
    before = state(network.body)
    plan = replace(PLAN, method="l2-sp", weight_decay=1e6, warmup=0.0)
    run(tmp_path, textures, plan, network)
    for name, tensor in network.body.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def answers_of(network, textures):
    what, _ = lesson(textures, network)
    return torch.from_numpy(what.features.values), network.head


def test_a_student_comes_nearer_to_its_teacher_than_without(tmp_path, textures):
    labels = Labels.from_targets("class", sorted({path.name for path in textures.iterdir() if path.is_dir()}))
    teacher_network, *_ = run(tmp_path / "teacher", textures, replace(PLAN, method="probe"), tiny(seed=5))
    # A teacher that answers with certainty, and not always what the folder says.
    with torch.no_grad():
        teacher_network.head.weight.mul_(3)
    gaps = {}
    for share in (0.0, 1.0):
        network = tiny()
        what, task = lesson(textures, network)
        teacher = Teacher(teacher_network, labels, labels)
        phases = (Phase(name="distill", epochs=6, lr=0.05, augment="none", teacher=share),)
        plan = replace(PLAN, method="full", phases=phases, teacher="runs/any", views=None)
        transfer(network, task, what, plan, phases, around(tmp_path / str(share), plan), say=print, teacher=teacher)
        pictures = torch.rand(16, 3, 32, 32)
        with torch.no_grad():
            gaps[share] = float(task.distance(network.eval()(pictures), teacher(pictures), 1.0))
    assert gaps[1.0] < gaps[0.0]


def test_a_teacher_is_asked_in_the_students_order_and_size():
    theirs, ours = Labels.from_targets("class", ["a", "b", "c"]), Labels.from_targets("class", ["c", "a", "b"])
    network = tiny()
    pictures = torch.randint(0, 256, (4, 3, 48, 40), dtype=torch.uint8)
    said = Teacher(network, theirs, ours)(pictures)
    assert said.shape == (4, 3) and not said.requires_grad
    assert torch.equal(said, Teacher(network, theirs, theirs)(pictures)[:, [theirs.names.index(n) for n in ours.names]])


@pytest.mark.parametrize("theirs", [["a", "b"], ["a", "b", "c", "d"], ["a", "b", "x"]])
def test_a_teacher_of_other_classes_is_refused(theirs):
    ours = Labels.from_targets("class", ["a", "b", "c"])
    with pytest.raises(ConfigError, match="another question"):
        Teacher(tiny(), Labels.from_targets("class", theirs), ours)


@pytest.mark.parametrize(
    "kind, targets", [("class", ["a", "b", "c"]), ("labels", [("a",), ("b", "c")]), ("number", [1.0, 5.0])]
)
def test_the_distance_from_a_teacher_is_nothing_where_both_agree_and_more_elsewhere(kind, targets):
    labels = Labels.from_targets(kind, targets)
    options = {"class": ft.Classify, "labels": ft.Tag, "number": ft.Regress}[kind]()
    task = options.build(labels, targets)
    torch.manual_seed(0)
    logits = torch.randn(8, labels.num_outputs)
    for temperature in (1.0, 4.0):
        assert float(task.distance(logits, logits, temperature)) == pytest.approx(0, abs=1e-6)
        assert float(task.distance(logits + torch.randn_like(logits), logits, temperature)) > 1e-3


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_in_bf16_clip_their_gradients_and_learn(tmp_path, textures, precision, optimizer):
    """Lightning refuses to clip those of a fused optimizer under mixed precision."""
    network = tiny()
    before = state(network)
    plan = replace(PLAN, method="full", precision=precision, optimizer=optimizer, gradient_clip=1.0, epochs=1)
    network, *_ = run(tmp_path, textures, plan, network)
    assert "head.weight" in moved(before, network)
