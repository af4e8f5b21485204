"""The pieces of style transfer: what must hold whatever a network has learned, and what real weights do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from finetune._recipes.style.film import Step, paint_film, steps_given, warping_error
from finetune._recipes.style.loss import KNOWN, Layers, Listener, StyleLoss, gram, layers_of
from finetune._recipes.style.motion import Motion, reliable, temporal_loss, warp
from finetune._recipes.style.net import Crops, Painter, judged, load_painter, save_painter
from finetune._recipes.style.pixels import files_of, paint, read, style_of
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models import vgg19

import finetune as ft

TINY = ft.Backbone("torchvision/squeezenet1_0", weights="none")
LAYERS = Layers(content=("features.4",), style=("features.1", "features.3"))


def texture(kind, side=48, seed=0):
    array = ft.generated_picture(kind, seed=seed, side=side)
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].contiguous() / 255


@pytest.fixture(scope="module")
def listener():
    torch.manual_seed(0)
    return Listener(TINY, (*LAYERS.content, *LAYERS.style))


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 9))
def test_a_gram_matrix_does_not_know_where_things_are(seed, channels, side):
    chance = torch.Generator().manual_seed(seed)
    maps = torch.randn(1, channels, side, side, generator=chance, dtype=torch.float64)
    mixed = maps.flatten(2)[..., torch.randperm(side * side, generator=chance)].view_as(maps)
    assert torch.allclose(gram(maps), gram(mixed), atol=1e-5)
    assert torch.allclose(gram(maps), gram(maps).transpose(1, 2))


def test_the_known_layers_are_those_of_the_papers():
    with torch.device("meta"):
        net = vgg19(weights=None).features
    convolutions, blocks, block = {}, 1, 0
    for number, layer in enumerate(net):
        if isinstance(layer, torch.nn.Conv2d):
            block += 1
            convolutions[f"conv{blocks}_{block}"] = f"features.{number}"
        elif isinstance(layer, torch.nn.MaxPool2d):
            blocks, block = blocks + 1, 0
    assert KNOWN["vgg19"].style == tuple(convolutions[f"conv{block}_1"] for block in range(1, 6))
    assert KNOWN["vgg19"].content == (convolutions["conv4_2"],)
    assert KNOWN["vgg16"].style == ("features.3", "features.8", "features.15", "features.22")


def test_a_convolution_of_vgg_is_heard_before_the_relu_that_works_in_place():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten(), torch.nn.Linear(4 * 46**2, 5)]
    module = torch.nn.Sequential(*layers)
    heard = Listener(ft.Backbone.from_module(module, head="3", input_size=48), ("0", "1"))(texture(0))
    assert heard["0"].min() < 0
    assert torch.equal(heard["0"].clamp(min=0), heard["1"])


def test_what_lies_behind_the_last_layer_is_not_computed_and_nothing_of_the_network_learns(listener):
    heard = listener(texture(0).requires_grad_())
    assert set(heard) == {*LAYERS.content, *LAYERS.style}
    assert not any(p.requires_grad for p in listener.parameters())
    assert not listener.train().training


@pytest.mark.parametrize("names", [("features.99",), ("",), ("classifier.0.x",)])
def test_layers_that_are_not_there_are_refused(names):
    with pytest.raises(ft.ConfigError, match="has no layer"):
        Listener(TINY, names)


def test_networks_without_known_layers_need_them_named():
    other = ft.Backbone("torchvision/resnet18", weights="none")
    with pytest.raises(ft.ConfigError, match="--content-layers and --style-layers"):
        layers_of(other, None, "layer1")
    assert layers_of(other, "layer2", "layer1,layer3") == Layers(content=("layer2",), style=("layer1", "layer3"))
    assert layers_of(ft.Backbone("timm/vgg19.tv_in1k"), None, None) is not None


@pytest.mark.parametrize("paper", [False, True])
def test_a_picture_in_its_own_style_has_no_loss_and_does_not_move(listener, paper):
    picture = texture(1)
    loss = StyleLoss(listener, LAYERS, picture, style_weight=10, paper=paper)
    painted, curve = paint(loss.towards(loss.content_of(picture)), picture, steps=5)
    assert curve[0]["loss"] == curve[0]["content"] == pytest.approx(0, abs=1e-9)
    assert torch.equal(painted, picture)


@pytest.mark.parametrize("paper", [False, True])
def test_the_loss_falls_with_random_weights_too(listener, paper):
    content, style = texture(0), texture(2)
    # The paper's sums are tiny where activations are, and L-BFGS begins with a step as long as the gradient.
    loss = StyleLoss(listener, LAYERS, style, style_weight=1e8 if paper else 10, paper=paper)
    painted, curve = paint(loss.towards(loss.content_of(content)), content, steps=15)
    losses = [at["loss"] for at in curve]
    assert losses[-1] < 0.7 * losses[0]
    assert painted.min() >= 0 and painted.max() <= 1 and not torch.equal(painted, content)


def test_the_papers_sums_are_written_as_it_says(listener):
    content, style, picture = texture(0), texture(1), texture(2)
    parts = StyleLoss(listener, LAYERS, style, style_weight=3, variation_weight=2, paper=True)(
        picture, listener(content) and {"features.4": listener(content)["features.4"]}
    )
    own, theirs = listener(picture), listener(style)
    wanted = 0.0
    for name in LAYERS.style:
        apart = gram(own[name]) - gram(theirs[name])
        wanted += float(apart.square().sum()) / apart.shape[1] ** 4
    assert float(parts["style"]) == pytest.approx(wanted, rel=1e-4)
    total = float(parts["content"]) + 3 * float(parts["style"]) + 2 * float(parts["variation"])
    assert float(parts["loss"]) == pytest.approx(total, rel=1e-5)


def test_a_loss_that_is_no_number_stops_with_its_name(listener):
    with pytest.raises(ft.TrainingError, match=r"here\.png is no number after 1"):
        paint(lambda pixels: {"loss": (pixels * float("nan")).sum()}, texture(0), steps=3, name="here.png")


def test_the_painting_is_named_or_lies_among_the_pictures(tmp_path):
    with pytest.raises(ft.ConfigError, match="There is no painting"):
        style_of(tmp_path, None)
    with pytest.raises(ft.DataError, match="There are no pictures"):
        files_of(tmp_path)
    with pytest.raises(ft.DataError, match="cannot be read"):
        (tmp_path / "a.png").write_bytes(b"no picture")
        read(tmp_path / "a.png", 64)


# The painter.


def test_a_painter_begins_by_showing_the_photograph_at_any_size():
    torch.manual_seed(0)
    for size in ((32, 32), (45, 70)):
        photo = texture(0, 80)[..., : size[0], : size[1]]
        painted = Painter(8)(photo)
        assert painted.shape == photo.shape
        assert (painted - photo).abs().mean() < 0.02


def test_a_painter_that_changes_nothing_is_judged_as_the_photographs_are(listener):
    loss = StyleLoss(listener, LAYERS, texture(2), style_weight=1.0)
    photos = {name: texture(kind) for kind, name in enumerate("ab")}
    same = judged(loss, torch.nn.Identity(), photos)
    assert all(found["style"] == found["unpainted"] > 0 and found["content"] == 0 for found in same.values())
    style = judged(loss, lambda photo: texture(2), photos)
    assert all(found["style"] < 1e-6 < found["content"] for found in style.values())
    assert {name: found["unpainted"] for name, found in style.items()} == {
        name: found["unpainted"] for name, found in same.items()
    }


def test_a_painter_comes_back_from_its_file(tmp_path):
    torch.manual_seed(1)
    painter, photo = Painter(8).eval(), texture(0)
    save_painter(painter, tmp_path / "x" / "painter.safetensors")
    assert torch.equal(load_painter(tmp_path / "x" / "painter.safetensors")(photo), painter(photo))
    (tmp_path / "y.safetensors").write_bytes(b"{}")
    for file in ("y.safetensors", "z.safetensors"):
        with pytest.raises(ft.WeightsError, match="is no painter"):
            load_painter(tmp_path / file)


def test_squares_are_the_same_for_one_seed_and_others_for_another(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.fromarray(ft.generated_picture(number, side=50)).save(tmp_path / f"{number}.png")
    one, again, other = (Crops(files_of(tmp_path), side=32, draws=6, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[n], again[n]) and one[n].shape == (3, 32, 32) for n in range(6))
    assert not all(torch.equal(one[n], other[n]) for n in range(6))


# Films.


def still(frames=3):
    return [texture(0, 40)] * frames, [Step(flow=torch.zeros(1, 2, 40, 40), mask=torch.ones(1, 1, 40, 40))] * 2


def test_a_film_in_which_nothing_moves_has_no_temporal_loss_and_stays_still(listener):
    film, steps = still()
    assert max(warping_error(film, steps)) < 1e-12
    loss = StyleLoss(listener, LAYERS, texture(1), style_weight=10)
    alone = paint_film(film, steps, loss, temporal_weight=0, painted_steps=4)
    assert max(warping_error(alone, steps)) < 1e-12, "the same frame is painted alike"


def test_a_film_in_its_own_style_is_not_moved_by_the_temporal_loss(listener):
    film, steps = still()
    loss = StyleLoss(listener, LAYERS, film[0], style_weight=10)
    held = paint_film(film, steps, loss, temporal_weight=5, painted_steps=3)
    assert all(torch.allclose(one, film[0], atol=1e-3) for one in held)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, -2), (-4, 5)])
def test_a_known_motion_carries_a_frame_to_the_next_one(right, down):
    wide = texture(1, 64)
    before, after = wide[..., 8:56, 8:56], wide[..., 8 - down : 56 - down, 8 - right : 56 - right]
    flow = torch.tensor([-right, -down]).float().view(1, 2, 1, 1).expand(1, 2, 48, 48)
    mask = reliable(flow, -flow)
    assert float(temporal_loss(after, warp(before, flow), mask)) < 1e-9
    assert float(temporal_loss(after, before, mask)) > 1e-3, "without carrying it would not hold"
    assert 0.7 < float(mask.mean()) < 1, "what comes in from outside is not believed"


def test_a_flow_that_the_way_back_contradicts_is_not_believed():
    flow = torch.full((1, 2, 32, 32), 3.0)
    assert float(reliable(flow, -flow).mean()) > 0.7
    assert float(reliable(flow, flow).mean()) == 0
    edge = torch.zeros(1, 2, 32, 32)
    edge[..., 16:] = 6
    assert float(reliable(edge, None)[..., 15].mean()) == 0, "a border of motion"


def test_opencvs_flow_finds_a_known_motion_and_none_says_that_nothing_moves():
    wide = texture(1, 120)
    before, after = wide[..., 8:104, 8:104], wide[..., 8:104, 5:101]
    found = Motion("dis")(after, before)[0, :, 24:-24, 24:-24].median(dim=1).values.median(dim=1).values
    assert torch.allclose(found, torch.tensor([-3.0, 0.0]), atol=0.3)
    assert not Motion("none")(after, before).any()


def test_raft_with_random_weights_is_refused(tmp_path):
    with pytest.raises(ft.ConfigError, match="random weights knows nothing"):
        Motion("raft", "none")
    with pytest.raises(ft.WeightsError, match="--flow dis"):
        Motion("raft", str(tmp_path / "no.pth"))


def test_raft_takes_a_file_in_torchvisions_layout_and_frames_of_any_size(tmp_path):
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "raft.pth")
    flow = Motion("raft", str(tmp_path / "raft.pth"))(texture(0, 50), texture(0, 50, 1))
    assert flow.shape == (1, 2, 50, 50) and torch.isfinite(flow).all()


def test_flows_come_from_files_in_both_formats_and_are_scaled_with_their_frames(tmp_path):
    array = np.tile(np.array([3, -1], np.float32), (20, 10, 1))
    np.save(tmp_path / "b.npy", array)
    (tmp_path / "c.flo").write_bytes(b"PIEH" + np.array([10, 20], "<i4").tobytes() + array.astype("<f4").tobytes())
    frames = [torch.zeros(1, 3, 40, 40)] * 3
    steps = steps_given(tmp_path, [Path("a.png"), Path("b.png"), Path("c.png")], frames)
    for step in steps:
        assert torch.allclose(step.flow[0, :, 9, 9], torch.tensor([12.0, -2.0]))
    with pytest.raises(ft.DataError, match=r"no flow for d\.png"):
        steps_given(tmp_path, [Path("a.png"), Path("d.png")], frames[:2])


# With real weights.


def test_real_weights_paint_a_photograph(shared_weights):
    from sklearn.datasets import load_sample_image

    def photo(name):
        array = load_sample_image(name)[::6, ::6].copy()
        return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous() / 255

    weights = shared_weights / "squeezenet1_0.torchvision.pth"
    net = ft.Backbone("torchvision/squeezenet1_0", weights=str(weights))
    layers = layers_of(net, None, None)
    loss = StyleLoss(Listener(net, (*layers.content, *layers.style)), layers, photo("flower.jpg"), style_weight=10)
    content = photo("china.jpg")
    painted, curve = paint(loss.towards(loss.content_of(content)), content, steps=8)
    assert curve[-1]["style"] < 0.7 * curve[0]["style"] and curve[-1]["content"] < 1
    assert (painted - content).abs().mean() > 0.01
