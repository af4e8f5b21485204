import json
from dataclasses import asdict

import pytest

from finetune.errors import ConfigError
from finetune.training.plan import METHODS, Phase, Plan


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pretrained", [True, False])
def test_every_method_is_a_tuple_of_phases_that_json_can_hold(method, pretrained):
    phases = Plan(method=method).build(pretrained=pretrained)
    assert phases and all(isinstance(phase, Phase) for phase in phases)
    json.dumps([asdict(phase) for phase in phases])
    assert len({phase.name for phase in phases}) == len(phases)


def test_epochs_are_those_of_the_phases_that_move_the_backbone():
    for method in METHODS:
        for phase in Plan(method=method, epochs=7, head_epochs=2).build(pretrained=True):
            moves = phase.learns != "head"
            assert phase.epochs == (7 if moves else 0 if phase.on == "features" else 2)


def test_norms_stay_frozen_for_pretrained_weights_and_learn_for_random_ones():
    assert Plan(method="full").build(pretrained=True)[-1].norms == "frozen"
    assert Plan(method="full").build(pretrained=False)[-1].norms == "train"
    assert Plan(method="full", norms="train").build(pretrained=True)[-1].norms == "train"


def test_a_given_rate_is_used_as_it_is():
    for method in ("full", "head-then-full", "lp-ft"):
        assert Plan(method=method, lr=0.25, batch_size=512).build(pretrained=True)[-1].lr == 0.25


def test_own_phases_replace_the_methods():
    own = (Phase(name="top", learns=("layer4", "head"), epochs=1),)
    assert Plan(phases=own).build(pretrained=True) == own


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as error:
        Plan(method="ful", epochs=0, lr=-1, warmup=1.0, devices=0)
    lines = str(error.value).splitlines()
    assert len(lines) == 5 and 'Did you mean "full"' in lines[0]


@pytest.mark.parametrize("phases", [
    (Phase(name="a", epochs=1), Phase(name="a", epochs=1)),
    (Phase(name="a", epochs=1), Phase(name="probe", learns="head", on="features")),
])  # fmt: skip
def test_phases_that_contradict_each_other_are_refused(phases):
    with pytest.raises(ConfigError):
        Plan(phases=phases)


@pytest.mark.parametrize("words", [
    {"epochs": 0}, {"on": "features", "learns": "all"}, {"epochs": 1, "optimizer": "adam"},
    {"epochs": 1, "augment": "auto"}, {"epochs": 1, "lr": 0.0},
])  # fmt: skip
def test_a_phase_that_cannot_be_right_is_refused(words):
    with pytest.raises(ConfigError, match='Phase "x"'):
        Phase(name="x", **words)


def test_ways_of_sampling_and_mixing_that_cannot_be_are_refused():
    with pytest.raises(ConfigError) as error:
        Plan(sampler="balance", mixup=-0.1, cutmix=float("nan"))
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and 'Did you mean "balanced"' in lines[0]


@pytest.mark.parametrize("words", [{"sampler": "sqrt"}, {"mixup": 0.2}, {"cutmix": 1.0}])
def test_what_a_probe_would_not_do_is_refused(words):
    only_features = (Phase(name="probe", learns="head", on="features"),)
    for made in ({"method": "probe"}, {"phases": only_features}):
        with pytest.raises(ConfigError, match="would do nothing"):
            Plan(**made, **words)
    Plan(method="probe", phases=(Phase(name="all", epochs=1),), **words)


@pytest.mark.parametrize("words", [{"sampler": "balanced"}, {"cutmix": 1.0}])
def test_a_number_is_neither_balanced_nor_cut(words):
    plan = Plan(**words)
    assert plan.for_kind("class").for_kind("labels").cutmix == words.get("cutmix", 0)
    with pytest.raises(ConfigError, match="The target is a number"):
        plan.for_kind("number")
    assert Plan(mixup=0.2).for_kind("number").mixup == 0.2


def test_the_names_of_samplers_are_those_of_the_loaders():
    from finetune.data.samplers import POWERS
    from finetune.training.plan import SAMPLERS

    assert set(SAMPLERS) == set(POWERS)


def test_a_number_is_not_mirrored_unless_its_sign_can_be_changed():
    for kind in ("class", "labels"):
        assert [phase.augment for phase in Plan().for_kind(kind).build(pretrained=True)] == ["light", "standard"]
    assert Plan().for_kind("number").augment == "documents"
    assert Plan(mirror_target="negate").for_kind("number").augment == "light"
    assert Plan(mirror_target="negate", augment="strong").for_kind("number").augment == "strong"


@pytest.mark.parametrize("kind", ["class", "labels"])
def test_only_a_number_has_a_sign_to_change(kind):
    with pytest.raises(ConfigError, match="is for numbers"):
        Plan(mirror_target="negate", augment="light").for_kind(kind)


@pytest.mark.parametrize("words", [
    {"mirror_target": "negate", "augment": "documents"}, {"mirror_target": "negat"}, {"augment_engine": "torchvison"},
])  # fmt: skip
def test_ways_to_vary_that_cannot_be_right_are_refused(words):
    with pytest.raises(ConfigError, match=next(iter(words))):
        Plan(**words)


def test_the_names_of_augmentations_are_those_of_the_transforms():
    from finetune.data.policies import POLICIES as made
    from finetune.training.plan import POLICIES as named

    assert set(named) - {"auto"} == set(made)


def test_views_of_a_negated_target_are_refused_and_never_made_by_a_method():
    probe = Phase(name="p", learns="head", on="features", views=2, augment="light")
    with pytest.raises(ConfigError, match="views=0"):
        Plan(mirror_target="negate", phases=(probe,))
    for method in ("probe", "lp-ft"):
        made = Plan(method=method, views=4, mirror_target="negate").for_kind("number").build(pretrained=True)
        assert made[0].views == 0
    assert Plan(augment="none").build(pretrained=True)[0].views == 0


def test_what_lp_ft_does_by_default_is_not_what_a_probe_does():
    probe, tune = Plan().for_kind("class").build(pretrained=True)
    assert probe.views > 0 and tune.ema > 0 and Plan().for_kind("class").mixup > 0
    (alone,) = Plan(method="probe").for_kind("class").build(pretrained=True)
    assert alone.views == 0 and Plan(method="probe").for_kind("class").mixup == 0
    assert Plan().for_kind("number").mixup == 0
