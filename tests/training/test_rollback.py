"""A loss that is no number: before the weights move by it, and with the files that it came from."""

import csv

import lightning as L
import numpy as np
import pytest
import torch

import finetune as ft
from finetune.errors import NotFiniteError
from tests.running.test_resume import WORDS, StopBefore, fit, left, same


class Poison(L.Callback):
    """Makes a gradient, or the loss through the weights' values, no number, at some steps so many times."""

    def __init__(self, *steps: int, times: int = 1) -> None:
        self.steps, self.left = steps, times
        self.rates: list[tuple[int, float]] = []
        self.before: dict[str, torch.Tensor] = {}
        self.after: dict[str, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append((trainer.global_step, optimizer.param_groups[0]["lr"]))
        if trainer.global_step in self.steps and self.left:
            self.left -= 1
            self.before = {name: p.detach().clone() for name, p in module.named_parameters()}
            next(p for p in module.parameters() if p.grad is not None).grad.view(-1)[0] = torch.nan

    def on_exception(self, trainer, module, exception):
        self.after = {name: p.detach().clone() for name, p in module.named_parameters()}


def test_it_stops_before_the_weights_move_and_names_the_files_of_the_batch(tmp_path, textures):
    poison = Poison(5)
    with pytest.raises(NotFiniteError, match=r'gradient became nan.* at step 5 \(epoch 2\) of phase "train"') as told:
        fit(textures, tmp_path / "run", poison)
    assert ".png" in str(told.value) and "and" not in str(told.value).split("Its pictures:")[1]  # six fit in a line
    assert all(torch.equal(value, poison.after[name]) for name, value in poison.before.items())


def test_a_picture_that_is_not_finite_is_named_alone(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.random((24, 32, 32, 3), dtype=np.float32)
    pictures[7, 0, 0, 0] = np.nan
    with pytest.raises(ft.FinetuneError) as told:
        fit((pictures, ["a", "b", "c"] * 8), tmp_path / "run", augment="none", mixup=0)
    assert "7" in str(told.value)


def test_it_goes_back_to_the_last_checkpoint_and_on_at_half_the_rate(tmp_path, textures, capsys):
    poison, plain = Poison(5), Poison()
    fit(textures, tmp_path / "plain", plain)
    ft.fit(textures, **{**WORDS, "on_nan": "rollback", "checkpoint_every": "0s"}, out=tmp_path / "run",
           callbacks=[poison])  # fmt: skip
    told = " ".join(capsys.readouterr().out.split())
    assert "goes back to step 5" in told and "at step 5" in told and ".png" in told
    rates, usual = poison.rates, dict(plain.rates)
    assert [step for step, _ in rates] == [*range(6), *range(5, 16)]
    assert all(rate == usual[step] for step, rate in rates[:6])
    assert all(rate == pytest.approx(usual[step] / 2, rel=1e-12) for step, rate in rates[6:])
    with (tmp_path / "run/metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


@pytest.mark.thorough
def test_without_a_checkpoint_it_goes_back_to_the_start_of_the_phase(tmp_path, textures):
    poison = Poison(5)
    fit(textures, tmp_path / "run", poison, on_nan="rollback", checkpoint_every="1h")
    assert [step for step, _ in poison.rates] == [*range(6), *range(16)]


def test_what_breaks_at_any_rate_stops_the_run(tmp_path, textures):
    poison = Poison(5, times=9)
    with pytest.raises(NotFiniteError):
        fit(textures, tmp_path / "run", poison, on_nan="rollback")
    assert poison.left == 9 - 4


@pytest.mark.thorough
def test_a_lowered_rate_stays_lowered_in_a_run_that_is_resumed(tmp_path, textures):
    words = {"on_nan": "rollback"}
    fit(textures, tmp_path / "whole", Poison(5), **words)
    with pytest.raises(ft.FinetuneError):
        fit(textures, tmp_path / "run", Poison(5), StopBefore(9, phase=2), **words)
    ft.fit(resume=tmp_path / "run", verbose=False)
    same(tmp_path / "run", left(tmp_path / "whole"))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_fused_optimizers_take_no_step_where_they_are_told_of_an_overflow(kind):
    """What an accelerator relies on, where the answer comes a step late."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1, fused=True)
    weight.grad = torch.full((3,), torch.nan)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert weight.tolist() == [1, 1, 1]
    weight.grad, optimizer.found_inf = torch.ones(3), torch.tensor(0.0)
    optimizer.step()
    assert torch.isfinite(weight).all() and (weight < 1).all()
