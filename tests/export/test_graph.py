"""Every family of networks becomes a graph that says what the network says, of any number of pictures of any size."""

import numpy as np
import pytest
import torch

from finetune.data.labels import Labels
from finetune.errors import FinetuneError
from finetune.export.answers import Told
from finetune.export.graph import FILES, Whole, traced, write_graph
from finetune.export.parity import runner
from finetune.export.pictures import Seen
from finetune.models.backbones import build
from finetune.models.options import Backbone
from finetune.tasks.decisions import Decisions
from finetune.tasks.options import Classify

FAMILIES = [
    ("timm/resnet18", {}), ("timm/mobilenetv2_035", {}), ("timm/efficientnet_b0", {}), ("timm/convnext_atto", {}),
    ("timm/vit_tiny_patch16_224", {"img_size": 64}), ("timm/deit_tiny_distilled_patch16_224", {"img_size": 64}),
    ("timm/swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)}),
    ("timm/regnetx_002", {}), ("timm/densenet121", {}), ("torchvision/squeezenet1_1", {}),
    ("torchvision/shufflenet_v2_x0_5", {}), ("timm/mixer_s16_224", {}), ("torchvision/alexnet", {}),
    ("torchvision/vgg11", {}), ("torchvision/inception_v3", {}), ("torchvision/googlenet", {}),
    ("timm/inception_v4", {}), ("finetune/lenet5", {}),
]  # fmt: skip
QUICK = {"finetune/lenet5"}
TASK = Classify().build(Labels(kind="class", names=("a", "b", "c")), [])


def pictures(*shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, np.uint8) for shape in shapes]


@pytest.mark.parametrize(
    ("name", "args"),
    [pytest.param(*one, marks=() if one[0] in QUICK else pytest.mark.thorough, id=one[0]) for one in FAMILIES],
)
def test_a_graph_says_what_its_network_says(name, args, tmp_path):
    torch.manual_seed(0)
    network = build(Backbone(name, weights="none", args=args), 3).eval()
    told = Told(TASK, Decisions(temperature=1.5))
    whole, program = Whole(Seen(network.spec), network, told).eval(), traced(network, told)
    for file in FILES.values():
        write_graph(program, tmp_path / file, told, {"classes": ["a", "b", "c"]})
        run = runner(tmp_path / file, told.outputs)
        chans = network.spec.in_chans
        for asked in pictures((1, 80, 120, chans), (3, 301, 97, chans), (2, *network.spec.size, chans)):
            with torch.no_grad():
                expected = whole(torch.from_numpy(asked))
            found = run(asked)
            np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=2e-4, atol=2e-5)
            np.testing.assert_array_equal(found["label"], expected["label"])


def test_onnx_carries_the_facts_and_names_its_sides(tmp_path):
    import onnxruntime

    network = build(Backbone("finetune/lenet5", weights="none"), 3).eval()
    told = Told(TASK, Decisions())
    write_graph(traced(network, told), tmp_path / "model.onnx", told, {"classes": ["ä", "b", "c"]})
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type) == ("pictures", "tensor(uint8)")
    assert taken.shape == ["N", "H", "W", network.spec.in_chans]
    assert [one.name for one in session.get_outputs()] == ["probabilities", "label"]
    assert session.get_modelmeta().custom_metadata_map["finetune"] == '{"classes": ["ä", "b", "c"]}'


class Chooses(torch.nn.Module):
    """Does another thing for bright pictures, which no graph can."""

    def forward(self, x):
        return x.mean(dim=(2, 3)) if x.mean() > 0 else x.amax(dim=(2, 3))


def test_code_that_is_no_graph_is_refused_by_name():
    network = build(Backbone("finetune/lenet5", weights="none"), 3).eval()
    network.body = Chooses()
    with pytest.raises(FinetuneError, match=r"finetune/lenet5 cannot be made a graph: .*torch\.export"):
        traced(network, Told(TASK, Decisions()))
