"""The only LightningModule: a network, what its output means, and the phase it is in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.optim.lr_scheduler import LambdaLR

from ..data.mixing import mix
from ..errors import NotFiniteError, TrainingError, listing
from ..models.cut import Cut
from ..models.network import Network
from ..tasks.base import Task
from ..types import Batch, Stage
from .compiling import compiled, reason
from .frozen_part import FrozenPart, frozen_part
from .machine import scaling
from .means import RunningMean
from .optimizers import DECAYS, make_optimizer
from .phase import Phase
from .plan import Plan
from .rates import OneCycle, course, param_groups, phase_steps
from .teaching import Teacher


class Learner(L.LightningModule):
    """Takes gradient steps on pictures for one phase.

    Args:
        network: What learns; which of its parameters do is set before.
        task: Loss and metrics.
        phase: Rates and length.
        plan: Decay, warm-up and mixing.
        seed: Of dropout and the like, on each rank its own.
        head_decay: Weight decay of the head under "sgd", where an earlier phase has found the one that it needs.
        learning: What learns; by default the network's own stages.
        teacher: Whose answers count for the share `phase.teacher` of the loss.
        named: What each example is called, for whoever is told of one that goes wrong.
    """

    stops = True  # where the loss or a gradient is no number

    def __init__(
        self, network: Network, task: Task, phase: Phase, plan: Plan, *, seed: int, head_decay: float | None = None,
        learning: Sequence[Stage] = (), teacher: Teacher | None = None, named: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self._seed = seed
        self._head_decay = head_decay
        self._learning = tuple(learning) or network.stages
        self._teacher = teacher
        self.network, self.task, self.phase, self.plan = network, task, phase, plan
        # No module, so that the network's weights have one name: where batches hold activations at a cut of it.
        self.divided: Cut | None = None
        self._frozen_part: FrozenPart | None = None
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self.train_loss = RunningMean()
        self.batches = 0  # taken so far, of any kind: whoever watches sees that something moves
        self._named = named
        self._now: tuple[int, Batch, Tensor] | None = None
        self._late: list[tuple[int, Batch, Tensor]] = []
        self._rates: list[float] = []
        self.gradient_norm = torch.tensor(torch.nan)
        self._compiled: Callable[[Tensor], Any] | None = None
        self.not_compiled: str | None = None

    def configure_optimizers(self) -> Any:
        """The optimizer over the stages' groups, with the schedule over the steps of the whole phase."""
        name, world = self.phase.optimizer, self.trainer.world_size
        scale = scaling(self.plan, world)
        lr, decay = scale * _number(self.phase.lr), self.plan.weight_decay
        if self.phase.decay_to == "start":
            decay = 0.0  # of the body; that is pulled elsewhere
        groups = param_groups(
            self.network,
            lr=lr,
            layer_decay=self.phase.layer_decay,
            weight_decay=decay if decay is not None else DECAYS[name],
            stages=self._learning,
        )
        if name == "sgd" and self.plan.weight_decay is None and self._head_decay is not None:
            # Without it the head would leave at once the penalty under which it was fitted, and grow sure of itself.
            for group in groups:
                if group["name"] == "head":
                    group["weight_decay"] = self._head_decay
        # One kernel for all weights instead of several for each; it cannot share their gradients' scaling with a clip.
        fused = self.trainer.precision not in ("16-mixed", "16-true")
        optimizer = make_optimizer(name, groups, lr=lr, fused=fused)
        # A phase that is stopped at an epoch chosen before runs along the same curve as the one that chose it.
        share = course(self.phase, self.plan, steps=phase_steps(self.trainer, self.phase), scale=scale)
        kind = OneCycle if self.phase.schedule == "one-cycle" else LambdaLR
        self._rates = [group["lr"] for group in groups]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": kind(optimizer, share), "interval": "step"}}

    def on_train_start(self) -> None:
        """Seeds what is random in the network, so that a phase does not depend on what was drawn before it."""
        torch.manual_seed(1_000_003 * self._seed + self.global_rank)
        if self.global_step:
            self._keep_rates()
        # Here and not before, since what is compiled or fused does not travel to spawned ranks.
        self._compiled = compiled(self.network) if self.plan.compile else None
        # Where nothing else is done to the forward pass.
        plain = self.trainer.precision == "32-true" and type(self.trainer.strategy) in _WHOLE
        if plain and self.divided is None and not self.plan.compile and not self.plan.grad_checkpointing:
            looks = int(self.trainer.num_training_batches) * self.phase.epochs * self.plan.batch
            self._frozen_part = frozen_part(self.network, self._learning, self.phase, looks=looks)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a (mixed) batch, ()."""
        # Without the rank: all mix in the same way, as if theirs were one batch.
        batch = mix(
            batch, mixup=self.plan.mixup or 0.0, cutmix=self.plan.cutmix, num_classes=self.task.labels.num_outputs,
            seed=(self._seed, self.current_epoch, batch_idx),
        )  # fmt: skip
        loss = self._step(batch, "train")
        self._now = (self.global_step, batch, loss.detach())
        return loss

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Looks at the gradient before the weights move by it, and bounds it.

        Raises:
            NotFiniteError: The loss or a gradient is not finite; the weights are as they were before the step.
        """
        norm = self._check(optimizer)
        if norm is None or not gradient_clip_val or gradient_clip_algorithm not in (None, "norm"):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        # The same arithmetic. Lightning takes a fused optimizer for one that scales gradients by itself wherever
        # precision is mixed, and refuses to clip them then: also under bf16, where nothing is scaled.
        learning = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grads_with_norm_(learning, float(gradient_clip_val), norm)

    def _check(self, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """The norm of the gradient, (); None where only somebody else can tell."""
        assert self._now is not None  # noqa: S101  # a gradient is that of a loss
        step, batch, loss = self._now
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # Scaled losses of 16 bits overflow now and then, and their scaler skips the step by itself; of sharded weights
        # each rank holds a part.
        scaled = self.trainer.precision in ("16-mixed", "16-true")
        known = not scaled and type(self.trainer.strategy) in _WHOLE
        norm = torch.nn.utils.get_total_norm(gradients) if gradients and known else None
        self.gradient_norm = torch.full_like(loss, torch.nan) if norm is None else norm
        if not self.stops:
            return norm
        sound = torch.isfinite(loss) if norm is None else torch.isfinite(loss) & torch.isfinite(norm)
        fused = optimizer.defaults.get("fused")
        if self.device.type == "cpu" or not (fused or scaled):
            if not sound:
                raise NotFiniteError(self._unsound_batch(step, batch, loss))
            return norm
        # Asking for the value at once would make an accelerator wait for the CPU at every step. Its fused optimizers
        # take no step where they are told of an overflow; a step later the answer is there.
        if fused:
            optimizer.found_inf = (~sound).float()  # type: ignore[attr-defined]
        self._stop_if_unsound()
        self._late.append((step, batch, sound))
        return norm

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects the logits of a batch."""
        self._step(batch, "validation")

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """The loss of a batch that is learned from, (); the logits of one that is looked at, which are remembered."""
        self.batches += 1
        logits = self._logits(batch.inputs, stage)
        if stage == "train":
            loss = self.task.step_loss(logits, batch.target, self.network.head)
            if self._teacher is not None and self.phase.teacher:
                gap = self.task.distance(logits, self._teacher(batch.inputs), self.plan.temperature)
                loss = torch.lerp(loss, gap, self.phase.teacher)
            self.train_loss.add(loss.detach(), len(batch.row))
            return loss
        self.seen.append((logits.detach().float().cpu(), batch.target.cpu(), batch.row.cpu()))
        return logits

    def _logits(self, inputs: Tensor, stage: str) -> Tensor:
        if self.divided is not None:
            upper: Tensor = self.network.head(self.divided.upper(inputs))
            return upper
        if self._frozen_part is not None:
            answered: Tensor = self.network.head(self._frozen_part(inputs))
            return answered
        # Channels last: convolutions are faster for it on CPUs and GPUs alike.
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        if stage == "train" and self._compiled is not None:
            try:
                logits: Tensor = self._compiled(inputs)
            except TorchDynamoException as error:
                self._compiled, self.not_compiled = None, reason(error)
            else:
                return logits
        logits = self.network(inputs)
        return logits

    def on_train_end(self) -> None:
        """What was compiled or fused belongs to the phase."""
        self._compiled = self._frozen_part = None

    def on_train_epoch_start(self) -> None:
        """The mean of the loss is that of an epoch; one that is gone on with keeps its own."""
        self.train_loss = RunningMean()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Says the mean of the loss with the last batch of an epoch, be it cut short."""
        if self.trainer.is_last_batch or self.trainer.should_stop:
            self._stop_if_unsound()
            self.log("train_loss", self.train_loss.mean(), on_step=False, on_epoch=True, batch_size=1)

    def on_validation_epoch_end(self) -> None:
        """The task's metrics over all validation pictures of all ranks, each counted once."""
        self._log_measured("validation")

    def _log_measured(self, part: str) -> None:
        values = self.measured(part)
        self.seen = []
        self.log_dict(values, rank_zero_only=False)

    def measured(self, part: str = "validation") -> dict[str, float]:
        """The metrics of the pictures of a part that all ranks have seen in this pass, by the names they are logged.

        Raises:
            TrainingError: An answer is not finite.
        """
        logits, target = self.answered(part)
        values = self.task.measure(self.task.answer(torch.from_numpy(logits)), target)
        return {f"{part}_{name}": value for name, value in values.items()}

    def answered(self, part: str = "validation") -> tuple[np.ndarray, np.ndarray]:
        """(n, K) logits and the targets of those pictures, in the order of their rows.

        Raises:
            TrainingError: A logit is not finite.
        """
        mine = tuple(torch.cat(parts).numpy() for parts in zip(*self.seen, strict=True)) if self.seen else None
        logits, target, index = _gather(mine)
        order = np.argsort(index)
        if not np.isfinite(logits).all():
            raise TrainingError(
                self._unsound(f"The network's answers on {part} pictures are not finite", self.global_step)
            )
        return logits[order], target[order]

    def look_again(self) -> None:
        """Passes over the validation pictures once more, with the weights that are in place now."""
        self.seen = []
        strategy, precision = self.trainer.strategy, self.trainer.precision_plugin
        loader: Any = self.trainer.val_dataloaders
        for batch in itertools.islice(loader, int(self.trainer.num_val_batches[0])):
            ready = strategy.batch_to_device(precision.convert_input(batch), self.device)
            with precision.val_step_context():
                self._step(ready, "validation")

    def _stop_if_unsound(self) -> None:
        """Looks at the steps whose soundness is known by now."""
        late, self._late = self._late, []
        for step, batch, sound in late:
            if not sound:
                raise NotFiniteError(self._unsound_batch(step, batch, torch.tensor(torch.nan)))

    def _unsound_batch(self, step: int, batch: Batch, loss: Tensor) -> str:
        """What went wrong in a step, and the files of its batch; where pictures of it are not finite, theirs alone."""
        bad = ~torch.isfinite(batch.inputs.flatten(1).float()).all(dim=1)
        rows = batch.row[bad] if bad.any() else batch.row
        names = [self._named[int(row)] if self._named else f"row {int(row)}" for row in rows.tolist()]
        what = (
            "Values of pictures are not finite" if bad.any()
            else "A gradient became nan or infinite" if torch.isfinite(loss)
            else "The training loss became nan or infinite"
        )  # fmt: skip
        return f"{self._unsound(what, step)} The weights are those before that step. Its pictures: {listing(names, 8)}."

    def _keep_rates(self) -> None:
        """The rates of this phase hold, where it goes on from a checkpoint of one with higher ones."""
        schedule: Any = self.lr_schedulers()
        schedule.base_lrs = list(self._rates)
        for group, rate, share in zip(schedule.optimizer.param_groups, self._rates, schedule.lr_lambdas, strict=True):
            group["initial_lr"], group["lr"] = rate, rate * share(schedule.last_epoch)

    def _unsound(self, what: str, step: int | None) -> str:
        at = f"at step {step} " if step is not None else ""
        return (
            f'{what} {at}(epoch {self.current_epoch + 1}) of phase "{self.phase.name}". Training was stopped. '
            f"The rate was {_number(self.phase.lr):g}, the precision {self.trainer.precision}; try --lr "
            f"{_number(self.phase.lr) / 10:g}, "
            "or --precision 32-true."
        )


_WHOLE = (SingleDeviceStrategy, DDPStrategy)


def _number(lr: float | str) -> float:
    """The rate of a phase that runs; "auto" has been looked for by then."""
    return float(lr)


def _gather(mine: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Everybody's (logits, target, row), joined."""
    parts: list[Any] = [mine]
    if dist.is_available() and dist.is_initialized():
        parts = [None] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
    some = [part for part in parts if part is not None]
    logits, target, index = (np.concatenate(column) for column in zip(*some, strict=True))
    return logits, target, index
