"""What happens beside the steps of a phase: frozen statistics, the best weights so far, the table, equal ranks."""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import TrainingError
from ..files import replacing
from .freeze import frozen_drops, frozen_norms
from .offers import add_row, write_state


class KeepNorms(L.Callback):
    """Holds normalisation layers, and dropout of frozen ones, in evaluation mode, whatever Lightning's `train()` sets.

    Args:
        norms: Which, as `frozen_norms` takes it.
    """

    def __init__(self, norms: str) -> None:
        self.norms = norms
        self.layers: list[nn.Module] = []

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Looks for them when the module is as it will be trained: Lightning may have exchanged layers by now."""
        self.layers = [*frozen_norms(module, self.norms), *frozen_drops(module)]

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Before every step, since a validation in between puts everything back in training mode."""
        for layer in self.layers:
            layer.eval()


class KeepBest(L.Callback):
    """Writes the weights of the best epoch so far, or of the last one, so that whatever happens later nothing is lost.

    Args:
        path: The file, `.safetensors`; a `.json` beside it says which epoch it is and how good.
        monitor: The logged metric that chooses; None keeps the last epoch.
        higher: Whether more of it is better.
        also: How many of the next best epochs are kept beside it.
        last: Whether the last epoch with a finite metric is kept, be it the best or not.
    """

    def __init__(
        self, path: Path, monitor: str | None, higher: bool, also: int = 0, *, last: bool = False
    ) -> None:  # fmt: skip
        self.path, self.monitor, self.higher, self.also = path, monitor, higher, max(0, also)
        self.last = last
        self.scores: list[float] = []

    def others(self) -> list[Path]:
        """The files of the next best epochs, the best first; only those that exist count."""
        return [self.path.with_name(f"{self.path.stem}-{place}.safetensors") for place in range(2, self.also + 2)]

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Keeps the weights where they are better than all before."""
        if trainer.sanity_checking or self.monitor is None:
            return
        if self.monitor not in trainer.callback_metrics:
            raise TrainingError(
                f'The metric "{self.monitor}" that chooses the best epoch was not logged. Logged were '
                f"{', '.join(sorted(trainer.callback_metrics)) or 'none'}; see --monitor."
            )
        score = float(trainer.callback_metrics[self.monitor])
        if not math.isfinite(score):
            return
        place = 0 if self.last else sum(score <= known if self.higher else score >= known for known in self.scores)
        if place > self.also:
            return
        self.scores = [*self.scores[:place], score, *self.scores[place:]][: self.also + 1]
        files = [self.path, *self.others()][: len(self.scores)]
        if trainer.is_global_zero:
            # Copied and not moved: the best file is there at any moment.
            for better, worse in reversed(list(zip(files[place:], files[place + 1 :], strict=False))):
                for ending in (".safetensors", ".json"):
                    shutil.copyfile(better.with_suffix(ending), worse.with_suffix(ending))
        self._write(files[place], trainer, module, trainer.current_epoch + 1, score)

    def files(self) -> list[Path]:
        """All that it may have written."""
        return [path.with_suffix(e) for path in (self.path, *self.others()) for e in (".safetensors", ".json")]

    def existing(self) -> list[Path]:
        """What of it is there."""
        return [path for path in self.files() if path.exists()]

    def state_dict(self) -> dict[str, Any]:
        """How good the kept epochs are; the checkpoint keeps their files beside it."""
        return {"scores": list(self.scores)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on comparing with them."""
        self.scores = list(state_dict["scores"])

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Without a metric to choose by, the last weights are the ones."""
        if self.monitor is None:
            self._write(self.path, trainer, module, trainer.current_epoch, None)  # counted up by now

    @staticmethod
    def _write(path: Path, trainer: Any, module: Any, epoch: int, score: float | None) -> None:
        if not trainer.is_global_zero:
            return
        write_state(path, module.state_dict())
        facts = {"epoch": epoch, "step": trainer.global_step, "score": score}
        with replacing(path.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(facts))


class Table(L.Callback):
    """One row of metrics.csv an epoch."""

    def __init__(self, path: Path, phase: str) -> None:
        self.path, self.phase = path, phase

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Adds the epoch's row; validation has run by now."""
        if trainer.is_global_zero:
            values = {k: float(v) for k, v in trainer.callback_metrics.items()}
            add_row(
                self.path,
                {"phase": self.phase, "epoch": trainer.current_epoch + 1, "step": trainer.global_step, **values},
            )


class SpawnedRanks(L.Callback):
    """Makes good processes of spawned ranks: silent, since they start with no filter of ours, and gone without a crash.

    Lightning takes a group apart for NCCL alone. One of gloo whose threads still run while the interpreter ends now and
    then ends in SIGABRT, after all has been learned, and the parent takes that for a failure.
    """

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Runs in each rank before anything else."""
        if trainer.world_size > 1:
            for name in ("lightning.pytorch", "lightning.fabric"):
                logging.getLogger(name).setLevel(logging.ERROR)
            warnings.filterwarnings("ignore")

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Only where all has gone well: one that leaves after an error must not wait for what others never send."""
        if trainer.world_size > 1:
            atexit.register(_leave)


def _leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


class SameEverywhere(L.Callback):
    """At the end of a phase all ranks must hold the same weights; statistics of normalisation are rank 0's."""

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """Compares hashes, and names the first tensor that differs.

        Raises:
            TrainingError: The ranks have drifted apart.
        """
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
        mine = {name: _digest(tensor) for name, tensor in module.state_dict().items()}
        everybody: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everybody, mine)
        for name, digest in mine.items():
            ranks = [rank for rank, theirs in enumerate(everybody) if theirs[name] != everybody[0][name]]
            if ranks:
                raise TrainingError(
                    f'After the phase the ranks do not hold the same weights: "{name}" of rank {ranks[0]} differs '
                    f"from rank 0's ({digest[:8]} here). The model was not saved; please report this with recipe.json."
                )


def _digest(tensor: Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(raw.numpy().tobytes()).hexdigest()
