"""What a search may vary, before anything is read."""

from __future__ import annotations

import pytest

from finetune.errors import ConfigError
from finetune.training.methods import METHODS
from finetune.tuning.search import (
    SEARCHED,
    Choices,
    Range,
    applies,
    check_space,
    parsed_space,
    space_from,
    together,
    usual_space,
)

FIXED = {"backbone": "finetune/lenet5"}


def check(given, **options):
    options = {**FIXED, **options}
    check_space("nowhere", options, space_from(given, options), None, list(given))


def test_the_usual_space_can_be_right_everywhere_with_and_without_pretrained_weights():
    check({})
    check({}, weights="none")
    assert usual_space({"weights": "none"})["method"] == Choices(("full",))


def test_what_the_command_line_says_is_what_python_says():
    texts = ["lr=1e-4..1e-1", "method=probe,lp-ft", "epochs=2..5", "layer-decay=0.9", "augment=none"]
    assert parsed_space(texts) == {
        "lr": (1e-4, 1e-1), "method": ["probe", "lp-ft"], "epochs": (2, 5), "layer_decay": [0.9], "augment": ["none"],
    }  # fmt: skip
    space = space_from(parsed_space(texts), {})
    assert space["lr"] == Range(1e-4, 1e-1, log=True) and space["epochs"] == Range(2, 5, whole=True)
    assert next(iter(space)) == "method", "on which it depends what else means anything"


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=a..b", "lr=1..", "=1,2"])
def test_a_text_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match=r"NAME=LOW\.\.HIGH|cannot be searched"):
        space_from(parsed_space([text]), {})


def test_a_word_is_searched_once():
    with pytest.raises(ConfigError, match="names lr twice"):
        parsed_space(["lr=1e-3", "lr=1e-2"])


@pytest.mark.parametrize("given, options, said", [
    ({"lrr": (1e-4, 1e-1)}, {}, 'lrr cannot be searched. There is no such option. Did you mean "lr"'),
    ({"seed": (0, 9)}, {}, "seed cannot be searched. Its value is the same in all trials"),
    ({"target": ["a", "b"]}, {}, "target cannot be searched"),
    ({"lr": (1e-4, 1e-1)}, {"lr": 0.1}, "to be 0.1 and to be searched"),
    ({"lr": (1e-1, 1e-4)}, {}, "from low to high"),
    ({"lr": (0.1, float("inf"))}, {}, "from low to high"),
    ({"epochs": (1.5, 3)}, {}, "epochs is a whole number"),
    ({"lr": "fast"}, {}, "takes a range"),
    ({"augment": []}, {}, "takes a range"),
    ({"method": ["probe", "lpft"]}, {}, 'Unknown method "lpft".'),
    ({"augment": ["light", "hard"]}, {}, 'Unknown augment "hard"'),
    ({"layer_decay": (0.5, 1.5)}, {}, "layer_decay must be above 0 and at most 1"),
    ({"mixup": [0.2]}, {"method": "probe"}, "mixup would do nothing"),
    ({"hidden": (8, 16)}, {}, "hidden would do nothing"),
    ({"method": ["l2-sp"]}, {"weights": "none"}, "keeps to pretrained weights"),
    ({"backbone": ["resnet18", "resnet9999"]}, {}, "resnet9999"),
], ids=str)  # fmt: skip
def test_what_cannot_be_right_is_told_before_any_file_is_read(given, options, said):
    fixed = {} if "backbone" in given else FIXED
    with pytest.raises(ConfigError) as told:
        options = {**fixed, **options}
        check_space("nowhere", options, space_from(given, options), None, list(given))
    assert said in str(told.value)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ConfigError) as told:
        check({"augment": ["hard"], "layer_decay": (0.5, 1.5), "lr": (-1.0, 0.1)})
    assert all(word in str(told.value) for word in ("hard", "layer_decay", "lr"))


def test_a_word_comes_where_it_means_something():
    assert not applies("lr", {"method": "probe"}) and applies("lr", {"method": "full"})
    assert applies("views", {"method": "probe"}) and not applies("views", {"method": "full"})
    assert applies("lora_rank", {"method": "lora"}) and not applies("lora_rank", {"method": "lp-ft"})
    assert applies("hidden", {"method": "probe", "head": "mlp"}) and not applies("hidden", {"method": "full"})
    for method in METHODS:
        assert all(isinstance(applies(word, {"method": method}), bool) for word in SEARCHED)


def test_a_fixed_option_counts_where_the_method_that_was_tried_uses_it():
    options = {"mixup": 0.2, "seed": 3}
    assert together(options, {"method": "probe"}) == {"seed": 3, "method": "probe"}
    assert together(options, {"method": "full", "lr": 0.1}) == {**options, "method": "full", "lr": 0.1}
    assert together({**options, "method": "probe"}, {"views": 4})["mixup"] == 0.2, "it is then refused in words"
