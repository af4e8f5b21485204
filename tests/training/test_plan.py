import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import ConfigError
from finetune.training.clock import seconds
from finetune.training.defaults import Facts, decide
from finetune.training.faults import MOVES_ALL
from finetune.training.methods import METHODS
from finetune.training.phase import Phase
from finetune.training.plan import Plan

STAGES = ("stem", "layer1", "layer2", "head")
MANY = Facts(examples=500, kind="class", classes=2, rarest=200, pretrained=True)


def words(method):
    return {"surgical": {"stage": "layer1"}, "distill": {"teacher": "runs/large"}}.get(method, {})


def decided(plan, kind="class"):
    plan.check_kind(kind)
    return decide(plan, Facts(examples=500, kind=kind, classes=2, rarest=200, pretrained=True))[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pretrained", [True, False])
def test_every_method_is_a_tuple_of_phases_that_json_can_hold(method, pretrained):
    plan = Plan(method=method, **words(method))
    if METHODS[method].needs_pretrained and not pretrained:
        with pytest.raises(ConfigError, match="these are random"):
            plan.build(pretrained=False, stages=STAGES)
        return
    phases = plan.build(pretrained=pretrained, stages=STAGES)
    assert phases and all(isinstance(phase, Phase) for phase in phases)
    json.dumps([asdict(phase) for phase in phases])
    assert len({phase.name for phase in phases}) == len(phases)
    assert (phases[0].on == "features") == METHODS[method].probes
    assert Plan(method=method, phases=phases, **words(method)).build(pretrained=True) == phases


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_it_does_and_where_it_is_from(method):
    assert METHODS[method].summary and "arXiv" in METHODS[method].source


def test_epochs_are_those_of_the_phases_that_move_the_backbone():
    for method in METHODS:
        plan = Plan(method=method, epochs=6, head_epochs=2, **words(method))
        moving = [phase for phase in plan.build(pretrained=True, stages=STAGES) if phase.learns != "head"]
        assert sum(phase.epochs for phase in moving) == (0 if method == "probe" else 6)


def test_gradual_adds_one_stage_from_the_top_each_phase():
    phases = Plan(method="gradual").build(pretrained=True, stages=STAGES)
    assert [phase.learns for phase in phases[1:]] == [STAGES[2:], STAGES[1:], STAGES]


def test_a_stage_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ConfigError, match=r'stem, layer1, layer2\. Got layer9\. Did you mean "layer'):
        Plan(method="surgical", stage="layer9").build(pretrained=True, stages=STAGES)


@pytest.mark.parametrize("method", MOVES_ALL[1:])
def test_all_below_a_stage_stays_where_everything_else_moves(method):
    all_of_it = Plan(method=method, **words(method)).build(pretrained=True, stages=STAGES)
    upper = Plan(method=method, freeze_to="layer1", **words(method)).build(pretrained=True, stages=STAGES)
    assert any(phase.learns == "all" for phase in all_of_it)
    assert [phase.learns for phase in upper] == [
        STAGES[1:] if phase.learns == "all" else phase.learns for phase in all_of_it
    ]
    assert [replace(a, learns="all") for a in upper[1:]] == [replace(a, learns="all") for a in all_of_it[1:]]
    for nothing in ("none", "stem"):
        same = Plan(method=method, freeze_to=nothing, **words(method)).build(pretrained=True, stages=STAGES)
        assert same == all_of_it


@pytest.mark.parametrize("stage", ["layer9", "head"])
def test_a_stage_to_freeze_to_that_is_none_is_answered_with_those_that_are(stage):
    with pytest.raises(ConfigError, match=rf"stem, layer1, layer2, or none\. Got {stage}"):
        Plan(method="lp-ft", freeze_to=stage).build(pretrained=True, stages=STAGES)


def test_growing_pictures_end_at_the_networks_own_size():
    phases = Plan(epochs=6, sizes=(96, 128)).build(pretrained=True)
    assert [(phase.size, phase.epochs) for phase in phases[1:]] == [(96, 2), (128, 2), (0, 2)]


@pytest.mark.parametrize("given, found", [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), (20, 20)])
def test_lengths_by_the_clock_are_read(given, found):
    assert seconds(given) == found


@pytest.mark.parametrize("given", ["", "ten", "10 min", "-5", "0", "1d", "1e400"])
def test_what_is_no_time_is_refused(given):
    with pytest.raises(ConfigError, match="time must be"):
        Plan(time=given)


@pytest.mark.parametrize("wrong", [
    {"epochs": 3, "steps": 10}, {"epochs": 3, "time": "1m"}, {"accumulate": 2, "effective_batch": 64},
    {"effective_batch": 50}, {"method": "surgical"}, {"method": "distill"}, {"method": "probe", "stage": "layer1"},
    {"method": "full", "views": 2}, {"method": "probe", "steps": 3}, {"method": "lora", "sizes": (96,)},
    {"method": "surgical", "stage": "layer1", "freeze_to": "layer1"}, {"method": "probe", "freeze_to": "layer1"},
    {"lr": 0}, {"lr": "fast"}, {"batch_size": 0}, {"batch_size": "big"}, {"schedule": "steps"}, {"settle": "first"},
    {"teacher_weight": 0.0}, {"sizes": (0,)}, {"patience": -1},
    {"optimizer": "lars"}, {"optimizer": "lamb", "lr": "auto"}, {"scale_lr": True, "lr": "auto"},
    {"schedule": "step", "milestones": (30, 20)}, {"schedule": "step", "milestones": (0,)}, {"milestones": (3,)},
    {"schedule": "step", "step_factor": 1.0}, {"schedule": "one-cycle", "warmup_epochs": 1}, {"warmup_epochs": -1},
    {"schedule": "step", "milestones": (3,), "warmup_epochs": 5}, {"reference_batch": 0},
])  # fmt: skip
def test_what_contradicts_itself_is_refused_before_anything_is_read(wrong):
    with pytest.raises(ConfigError):
        Plan(**wrong)


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
    plan.check_kind("class")
    plan.check_kind("labels")
    with pytest.raises(ConfigError, match="The target is a number"):
        plan.check_kind("number")
    assert decided(Plan(mixup=0.2), "number").mixup == 0.2


def test_samplers_are_checked_with_the_plan_and_m_per_class_with_its_batch():
    assert Plan(sampler="8-per-class", batch_size=16).sampler == "8-per-class"
    with pytest.raises(ConfigError, match=r'Unknown sampler "balance".*Did you mean "balanced"'):
        Plan(sampler="balance")
    for sampler, batch_size in (("m-per-class", 6), ("1-per-class", 8), ("8-per-class", 12)):
        with pytest.raises(ConfigError, match="batch_size must be a multiple of that"):
            Plan(sampler=sampler, batch_size=batch_size)


def test_a_number_is_not_mirrored_unless_its_sign_can_be_changed():
    for kind in ("class", "labels"):
        assert [phase.augment for phase in decided(Plan(), kind).build(pretrained=True)] == ["light", "standard"]
    assert decided(Plan(), "number").augment == "documents"
    assert decided(Plan(mirror_target="negate"), "number").augment == "light"
    assert decided(Plan(mirror_target="negate", augment="strong"), "number").augment == "strong"


@pytest.mark.parametrize("kind", ["class", "labels"])
def test_only_a_number_has_a_sign_to_change(kind):
    with pytest.raises(ConfigError, match="is for numbers"):
        Plan(mirror_target="negate", augment="light").check_kind(kind)


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
        made = decided(Plan(method=method, views=4, mirror_target="negate"), "number").build(pretrained=True)
        assert made[0].views == 0
    assert Plan(augment="none").build(pretrained=True)[0].views == 0


def test_what_lp_ft_does_by_default_is_not_what_a_probe_does():
    probe, tune = decided(Plan()).build(pretrained=True)
    assert probe.views > 0 and tune.ema > 0 and decided(Plan()).mixup > 0
    (alone,) = decided(Plan(method="probe")).build(pretrained=True)
    assert alone.views == 0 and decided(Plan(method="probe")).mixup == 0
    assert decided(Plan(), "number").mixup == 0


facts = st.builds(
    Facts, examples=st.integers(1, 10**6), kind=st.sampled_from(["class", "labels", "number"]),
    classes=st.integers(2, 50), rarest=st.integers(1, 1000), pretrained=st.booleans(),
)  # fmt: skip


@given(facts)
def test_what_the_data_decides_is_whole_and_says_why(facts):
    plan, reasons = decide(Plan(), facts)
    assert plan.method in METHODS and plan.mixup is not None
    assert plan.build(pretrained=facts.pretrained)
    assert 1 <= len(reasons) <= 5 and all(": " in reason for reason in reasons)
    assert decide(plan, facts)[0] == plan


@given(facts, st.sampled_from([{"method": "full"}, {"epochs": 7}, {"mixup": 0.9}, {"views": 2}, {"augment": "none"}]))
def test_what_the_user_says_is_never_decided_otherwise(facts, said):
    plan, _ = decide(Plan(**said), facts)
    assert all(getattr(plan, name) == value for name, value in said.items())


def test_more_pictures_are_looked_at_less_often():
    lengths = [decide(Plan(), replace(MANY, examples=n))[0].epochs for n in (100, 2_000, 5_000, 10**5)]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > lengths[-1]


def test_a_handful_of_examples_is_not_fine_tuned_and_random_weights_are():
    assert decide(Plan(), replace(MANY, rarest=2))[0].method == "probe"
    assert decide(Plan(), replace(MANY, pretrained=False))[0].method == "full"
    assert decide(Plan(), MANY)[0].method == "lp-ft"


def test_facts_count_classes_and_labels():
    of = Facts.of("class", ["a"] * 8 + ["b"] * 4, share=0.5, pretrained=True)
    assert (of.examples, of.classes, of.rarest) == (6, 2, 2)
    of = Facts.of("labels", [("a", "b"), ("a",), ()], share=1.0, pretrained=True)
    assert (of.examples, of.classes, of.rarest) == (3, 2, 1)
