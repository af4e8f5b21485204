from __future__ import annotations

import pytest
import torch

from finetune.models.heads import MLP, Embedding, Linear, MapHead, build_head
from finetune.models.options import EmbeddingHead, LinearHead, MLPHead


@pytest.mark.parametrize(
    ("options", "on_map", "kind"),
    [(LinearHead(), False, Linear), (LinearHead(dropout=0.2), True, MapHead), (MLPHead(hidden=7), False, MLP)],
)
def test_every_head_answers_one_row_a_picture_from_an_even_start(options, on_map, kind):
    head = build_head(options, 12, 4, on_map=on_map).eval()
    assert type(head) is kind
    answer = head(torch.randn(5, 12, 3, 3) if on_map else torch.randn(5, 12))
    assert answer.shape == (5, 4)
    assert (answer - answer.mean()).abs().max() < 0.5


def test_no_output_of_a_head_on_a_map_starts_dead():
    head = build_head(LinearHead(), 512, 20, on_map=True)
    head(torch.rand(4, 512, 5, 5)).sum(0).backward(torch.ones(20))
    assert (head.weight.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_heads_start_with_weights_that_let_the_body_learn():
    head = build_head(LinearHead(), 12, 4)
    features = torch.randn(5, 12, requires_grad=True)
    head(features).square().sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [12, 20])
def test_an_embedding_starts_with_the_cosines_of_the_features_and_answers_with_length_1(size):
    head, features = build_head(EmbeddingHead(size=size), 12, 4), torch.randn(5, 12)
    assert type(head) is Embedding
    points = head(features)
    assert points.shape == (5, size)
    unit = torch.nn.functional.normalize(features)
    torch.testing.assert_close(points @ points.T, unit @ unit.T)


def test_proxies_are_no_part_of_an_answer_and_of_what_is_kept():
    head = build_head(EmbeddingHead(size=6), 12, 4)
    assert head.proxies.shape == (4, 6) and set(head.kept_state()) == {"projection.weight", "projection.bias"}
    bare = build_head(EmbeddingHead(size=6), 12, 0)
    bare.load_state_dict(head.kept_state())
    features = torch.randn(5, 12)
    assert torch.equal(bare(features), head(features)) and bare.proxies is None


def test_a_point_of_half_precision_features_has_length_1_to_the_last_digits():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        points = build_head(EmbeddingHead(size=64), 12, 0)(torch.randn(5, 12))
    torch.testing.assert_close(points.norm(dim=1), torch.ones(5))
