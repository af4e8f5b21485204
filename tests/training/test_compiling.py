"""Compiled steps. The compiler itself is torch's: here its front end runs, with what it found given back to Python."""

import functools
import pickle

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed, InvalidBackend

import finetune as ft
from finetune.training.compiling import compiled, why_not
from finetune.training.learner import Learner
from finetune.training.phase import Phase
from finetune.training.transfer import transfer
from tests.training.tiny import around, lesson, state, tiny

PLAN = ft.Plan(accelerator="cpu", devices=1, workers=0, batch_size=8, monitor="log_loss", compile=True)
PHASE = Phase(name="all", epochs=1, lr=0.05)


@pytest.fixture
def front_end(monkeypatch):
    """Without a C++ compiler, which takes half a minute a network."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def run(folder, textures, plan=PLAN, **phase):
    network, said = tiny(), []
    what, task = lesson(textures, network)
    phases = (Phase(**{**vars(PHASE), **phase}),)
    transfer(network, task, what, plan, phases, around(folder, plan), say=said.append)
    return network, said


@pytest.mark.parametrize("norms", ["frozen", "train"])
def test_compiled_steps_are_the_same_steps_with_the_same_names_and_frozen_norms(
    tmp_path, textures, front_end, monkeypatch, norms
):
    calls = []

    def counted(network):
        run = compiled(network)
        return lambda inputs: (calls.append(len(inputs)), run(inputs))[1]

    monkeypatch.setattr("finetune.training.learner.compiled", counted)
    with_it, said = run(tmp_path / "with", textures, norms=norms)
    assert calls and not any("not compiled" in line for line in said)
    without, _ = run(tmp_path / "without", textures, ft.Plan(**{**vars(PLAN), "compile": False}), norms=norms)
    assert list(with_it.state_dict()) == list(without.state_dict())
    for name, tensor in without.state_dict().items():
        torch.testing.assert_close(with_it.state_dict()[name], tensor)
    before = state(tiny())
    for name in ("body.bn1.running_mean", "body.bn2.running_var"):
        assert torch.equal(before[name], with_it.state_dict()[name]) == (norms == "frozen")


def test_a_network_that_cannot_be_compiled_is_trained_without_and_that_is_said_once(tmp_path, textures, monkeypatch):
    def broken(network):
        def fail(inputs):
            raise InvalidBackend("inductor")

        return fail

    monkeypatch.setattr("finetune.training.learner.compiled", broken)
    with_it, said = run(tmp_path / "with", textures)
    assert sum("not compiled: InvalidBackend" in line for line in said) == 1
    without, _ = run(tmp_path / "without", textures, ft.Plan(**{**vars(PLAN), "compile": False}))
    assert all(torch.equal(a, b) for a, b in zip(with_it.parameters(), without.parameters(), strict=True))


def test_an_error_of_the_network_itself_is_no_error_of_the_compiler(tmp_path, textures, monkeypatch):
    def broken(network):
        def fail(inputs):
            raise ValueError("of its own")

        return fail

    monkeypatch.setattr("finetune.training.learner.compiled", broken)
    with pytest.raises(ValueError, match="of its own"):
        run(tmp_path, textures)


def test_a_machine_without_a_compiler_is_told_so_before_anything_is_read(tmp_path, textures, monkeypatch):
    def none(function):
        def fail(values):
            raise BackendCompilerFailed(none, RuntimeError("No working C++ compiler found."), None)

        return fail

    monkeypatch.setattr(torch, "compile", none)
    why_not.cache_clear()
    try:
        assert "No working C++ compiler found" in why_not("cpu")
        model = ft.fit(
            textures, backbone="finetune/lenet5", weights="none", method="full", epochs=1, accelerator="cpu",
            workers=0, verbose=False, compile=True, out=tmp_path / "run",
        )  # fmt: skip
    finally:
        why_not.cache_clear()
    assert (model.folder / "report.md").read_text().count("nothing is compiled") == 1
    assert '"compile": true' in (model.folder / "recipe.json").read_text()


def test_a_learner_travels_to_other_processes_whatever_it_compiles():
    network = tiny()
    what = pickle.dumps(Learner(network, None, PHASE, PLAN, seed=0))
    assert pickle.loads(what).plan.compile
