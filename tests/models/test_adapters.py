"""LoRA on one network; tests/contracts/test_adapters.py has the families."""

from __future__ import annotations

import copy
import pickle

import lightning as L
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import finetune as ft
from finetune import saved
from finetune.data.labels import Labels
from finetune.errors import ConfigError
from finetune.models import adapters
from finetune.models.adapters import add_lora, lora_targets, merge_lora
from finetune.models.options import Backbone, MLPHead
from finetune.training.callbacks import SpawnedRanks
from tests.models.official import pictures


class Mixed(nn.Module):
    """Each way in which a network may use a weight: called, depthwise, fused and not called, and with a norm."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.conv = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.qkv = nn.Linear(12, 36, bias=False)
        self.fc = nn.Linear(12, num_classes)

    def forward(self, inputs):
        maps = torch.relu(self.norm(self.conv(self.depthwise(self.stem(inputs)))))
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        q, k, v = F.linear(tokens, self.qkv.weight).chunk(3, dim=-1)
        return self.fc((tokens + F.scaled_dot_product_attention(q, k, v)).mean(1))


TARGETS = ("conv.weight", "attention.in_proj_weight", "attention.out_proj.weight", "qkv.weight")


def network_of(module, size=16):
    torch.manual_seed(0)
    return Backbone.from_module(module, head="fc", input_size=size).build(3).eval()


def mixed():
    torch.manual_seed(0)
    return network_of(Mixed())


def adapted(network=None, **words):
    """With updates that are no longer zero."""
    network = network or mixed()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name in add_lora(network, **words):
            if name.endswith("_b"):
                parameter = network.get_parameter(name)
                parameter.copy_(torch.empty(parameter.shape).normal_(0, 0.1, generator=random))
    return network


@pytest.fixture(params=[0, 10**9], ids=["products apart", "sums"])
def either_way(request, monkeypatch):
    """Layers are far too small here to pay for products apart."""
    monkeypatch.setattr(adapters, "_APART", request.param)


def answers(network, inputs):
    with torch.inference_mode():
        return network(inputs)


def slopes(network, inputs):
    network.zero_grad()
    F.cross_entropy(network(inputs), torch.arange(len(inputs)) % 3).backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.requires_grad}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_all_that_multiplies_gets_adapters_but_the_stem_and_what_is_divided_into_groups():
    assert lora_targets(mixed().body) == TARGETS


def test_weights_that_two_layers_share_are_left_alone():
    module = Mixed()
    module.qkv.weight = module.attention.in_proj_weight
    assert lora_targets(network_of(module).body) == ("conv.weight", "attention.out_proj.weight")


def test_the_answer_is_the_same_to_the_last_bit_at_the_start(either_way):
    network = mixed()
    inputs = pictures(network.spec)
    before = answers(network, inputs)
    add_lora(network)
    assert torch.equal(answers(network, inputs), before)


def test_q_k_and_v_have_updates_of_their_own():
    network = mixed()
    before = {name: network.body.get_parameter(name).detach().clone() for name in TARGETS}
    merge_lora(adapted(network, rank=2))
    for name in TARGETS:
        update = (network.body.get_parameter(name).detach() - before[name]).flatten(1).double()
        blocks = 3 if "in_proj" in name or "qkv" in name else 1
        ranks = [int(torch.linalg.matrix_rank(part, atol=1e-5)) for part in update.chunk(blocks)]
        assert ranks == [2] * blocks
        assert torch.linalg.matrix_rank(update, atol=1e-5) == 2 * blocks


def test_alpha_over_rank_scales_the_update():
    plain = mixed().body.conv.weight.detach()
    once, twice = (adapted(rank=2, alpha=alpha).body.conv.weight.detach() - plain for alpha in (3.0, 6.0))
    torch.testing.assert_close(2 * once, twice)


def test_no_update_has_more_columns_than_its_weight():
    network = mixed()
    add_lora(network, rank=1000)
    assert network.get_parameter("body.attention.out_proj.weight_lora_b").shape == (12, 12)
    assert network.get_parameter("body.qkv.weight_lora_a").shape == (36, 12)


def test_the_seed_alone_decides_where_adapters_start():
    before = torch.get_rng_state()
    first, again, other = mixed(), mixed(), mixed()
    torch.set_rng_state(before)
    names = add_lora(first, seed=1)
    add_lora(again, seed=1)
    add_lora(other, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    downs = [name for name in names if name.endswith("_a")]
    assert all(torch.equal(first.get_parameter(n), again.get_parameter(n)) for n in downs)
    assert not any(torch.equal(first.get_parameter(n), other.get_parameter(n)) for n in downs)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # it costs a copy and changes nothing
@settings(max_examples=25)
@given(data=st.data())
def test_a_convolution_of_any_kind_answers_as_it_does_merged(data):
    kernel = data.draw(st.sampled_from([1, 2, 3, (3, 1)]))
    stride = data.draw(st.sampled_from([1, 2]))
    padding = data.draw(st.sampled_from([0, 1, "same"] if stride == 1 else [0, 1]))
    words = {
        "stride": stride, "padding": padding, "dilation": data.draw(st.sampled_from([1, 2])),
        "padding_mode": data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        "bias": data.draw(st.booleans()),
    }  # fmt: skip
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, kernel, **words), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module.add_module("fc", nn.Linear(6, 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "_APART", 0)
        network = adapted(network_of(module, size=8), rank=2)
    check_merging(network)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_answers_as_it_does_merged(monkeypatch, bias):
    monkeypatch.setattr(adapters, "_APART", 0)
    hidden = nn.Linear(5, 7, bias=bias)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), hidden)
    module.add_module("fc", nn.Linear(7, 10))
    check_merging(adapted(network_of(module, size=4)))


def check_merging(network):
    inputs = pictures(network.spec)
    unmerged, plain = answers(network, inputs), copy.deepcopy(network)
    merge_lora(network)
    torch.testing.assert_close(answers(network, inputs), unmerged, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name.endswith("_b"):
                parameter.zero_()
    assert not torch.allclose(answers(plain, inputs), unmerged, rtol=1e-5, atol=1e-6), "the adapters do something"


def test_merging_twice_is_merging_once_and_merging_nothing_is_nothing():
    network = adapted()
    merge_lora(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.body.conv.requires_grad_(False)
    merge_lora(network)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not network.body.conv.weight.requires_grad


def test_a_merged_network_can_learn_with_new_adapters():
    network = adapted()
    merge_lora(network)
    inputs = pictures(network.spec)
    before = answers(network, inputs)
    add_lora(network)
    assert torch.equal(answers(network, inputs), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_learns_and_is_merged_by_itself(either_way, copied):
    network = adapted()
    inputs = pictures(network.spec)
    other = copied(network)
    expected = slopes(network, inputs)
    same(slopes(other, inputs), expected)
    before = answers(network, inputs)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
    merge_lora(other)
    assert torch.equal(answers(network, inputs), before)
    assert other.body.state_dict().keys() == mixed().body.state_dict().keys()
    assert not torch.allclose(answers(other, inputs), before)


def test_the_state_of_a_network_with_adapters_fits_another_with_them():
    network, other = adapted(), mixed()
    add_lora(other, seed=5)
    other.load_state_dict(network.state_dict())
    inputs = pictures(network.spec)
    assert torch.equal(answers(other, inputs), answers(network, inputs))


def test_half_precision_is_for_products_with_pictures_and_not_for_the_update(either_way):
    network = adapted()
    inputs = pictures(network.spec)
    full, expected = network.body.qkv.weight, answers(network, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert network.body.qkv.weight.dtype == torch.float32
        assert torch.equal(network.body.qkv.weight, full)
        found = slopes(network, inputs)
        torch.testing.assert_close(answers(network, inputs).float(), expected, rtol=0.05, atol=0.05)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in found.values())


def test_channels_last_changes_neither_answers_nor_gradients(either_way):
    network = adapted()
    inputs = pictures(network.spec)
    expected = slopes(network, inputs)
    network.to(memory_format=torch.channels_last)
    same(slopes(network, inputs.contiguous(memory_format=torch.channels_last)), expected)


def vit(**words):
    torch.manual_seed(0)
    args = {"depth": 2, "embed_dim": 48, "num_heads": 3}
    return Backbone("timm/vit_tiny_patch16_224", weights="none", input_size=32, args=args, **words).build(3).eval()


def test_blocks_that_are_computed_again_for_their_gradient_give_the_same(either_way):
    network = adapted(vit())
    inputs = pictures(network.spec)
    expected = slopes(network, inputs)
    network.body.set_grad_checkpointing()
    network.train()  # the network has no dropout, and computes nothing again in evaluation
    same(slopes(network, inputs), expected)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # torch's own, of its compiler
def test_a_compiled_network_learns_the_same(monkeypatch):
    monkeypatch.setattr(adapters, "_APART", 20)  # products apart for the convolution, sums for all others
    network = adapted()
    inputs = pictures(network.spec)
    expected = slopes(network, inputs)
    network.compile(backend="aot_eager", fullgraph=True)
    same(slopes(network, inputs), expected)


@pytest.mark.parametrize("head", [None, MLPHead(hidden=8)])
def test_a_model_that_is_saved_is_an_ordinary_one_merged_or_not(tmp_path, head):
    network = adapted(vit(**({"head": head} if head else {})))
    inputs = pictures(network.spec)
    expected = answers(network, inputs)
    options = ft.Classify()
    task = options.build(Labels.from_targets("class", ["a", "b", "c"]), ["a", "b", "c"])
    kind = {"kind": "mlp", "hidden": 8, "dropout": 0.25} if head else {"kind": "linear", "dropout": 0.0}
    facts = {"backbone": {"name": network.id, "args": dict(network.origin.args), "head": kind}}
    saved.save(tmp_path / "with", network, task, options, facts)
    merge_lora(network)
    saved.save(tmp_path / "merged", network, task, options, facts)
    written = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("with", "merged")]
    assert written[0] == written[1]
    back = saved.load(tmp_path / "with").network
    assert not adapters._adapted_layers(back)
    assert back.state_dict().keys() == network.state_dict().keys()
    torch.testing.assert_close(answers(back, inputs), expected, rtol=1e-5, atol=1e-6)


def test_everything_wrong_with_the_numbers_is_said_at_once_and_nothing_is_changed():
    network = mixed()
    names = [name for name, _ in network.named_parameters()]
    with pytest.raises(ConfigError) as error:
        add_lora(network, rank=0, alpha=float("nan"))
    assert "rank must be 1 or more" in str(error.value) and "alpha must be" in str(error.value)
    assert [name for name, _ in network.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_adapters_on_adapters_are_refused():
    with pytest.raises(ConfigError, match="has adapters already"):
        add_lora(adapted())


def test_a_network_without_a_layer_for_it_is_told_what_works():
    network = Backbone("finetune/mlp800", weights="none").build(3)
    with pytest.raises(ConfigError, match=r"mlp800 has no layer for LoRA.*full or lp-ft"):
        add_lora(network)
    assert all(parameter.requires_grad for parameter in network.parameters())


class Steps(L.LightningModule):
    """Takes steps with the adapters and the head, each on 10 of the pictures, which the ranks share."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.5)

    def train_dataloader(self):
        ranks = self.trainer.world_size
        rows = torch.arange(40).view(-1, ranks, 10 // ranks)[:, self.global_rank].flatten()
        data = torch.utils.data.TensorDataset(pictures(self.network.spec, count=40)[rows], rows % 3)
        return torch.utils.data.DataLoader(data, batch_size=10 // ranks)

    def training_step(self, batch, _):
        return F.cross_entropy(self.network.eval()(batch[0]), batch[1])

    def on_train_end(self):
        mine = torch.cat([p.detach().flatten() for p in self.parameters()])
        everybodys = self.all_gather(mine).view(-1, len(mine))
        assert all(torch.equal(one, mine) for one in everybodys), "the ranks have drifted apart"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*")  # the ranks are other processes; what they say is theirs
def test_two_spawned_ranks_learn_what_one_rank_learns_with_twice_the_batch(monkeypatch, tmp_path):
    # Products apart for the convolution, sums for all others; decided here and only carried to the ranks.
    monkeypatch.setattr(adapters, "_APART", 20)
    results = []
    for ranks in (2, 1):
        network = adapted()
        assert [layer.apart for layer in adapters._adapted_layers(network)] == [True, False, False, False]
        start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        trainer = L.Trainer(
            accelerator="cpu", devices=ranks, strategy="ddp_spawn" if ranks > 1 else "auto", max_epochs=1,
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, default_root_dir=tmp_path, callbacks=[SpawnedRanks()],
        )  # fmt: skip
        trainer.fit(Steps(network))
        moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, start[name])}
        assert moved == {name for name, p in network.named_parameters() if p.requires_grad}
        merge_lora(network)
        results.append(network.state_dict())
    two, one = results
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)
