"""Processes that torchrun or SLURM has started, on one machine or on many: one leads, the others follow.

Reading, dividing, checking and reporting happen once, in the first process. The others wait until it hands them a fit,
with all that belongs to it, as spawned ranks are handed one; fit together; and wait for the next. So there is one path
through the code however the ranks were started, and nothing that a follower could do twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed.rendezvous import rendezvous

from ..errors import ConfigError
from .place import Place, place

CHUNK = 4 * 2**20
"""Bytes that the store is given at once: torch's takes messages of up to 8 MiB."""

FOREVER = timedelta(days=30)
"""Followers wait while the leader reads pictures; how long nothing may move within a fit is `rank_timeout`'s to say."""

GOODBYE = timedelta(minutes=5)
"""How long the leader waits at the end for followers to hear of it."""


class Group:
    """All processes of a launch, through the store that they meet at.

    The process group is made for each fit and taken apart after it: what the leader does alone in between, trials and
    measurements, must not look like the work of many.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._store = _meeting_point(place)
        self._fits = 0
        self._given = 0

    def fit(self, words: Mapping[str, Any], module: Any, data: Mapping[str, Any]) -> None:
        """Hands a fit to all followers, and takes part in it.

        Args:
            words: The keywords of Lightning's Trainer.
            module: What is trained; afterwards it is as this rank has trained it.
            data: As `Trainer.fit` takes it.
        """
        self._send(pickle.dumps(("fit", (dict(words), module, dict(data)))))
        self._take_part(words, module, data)

    def hand(self, work: Sequence[tuple[Callable[..., Any], Any, Any]]) -> None:
        """Hands each follower its share of a pass; `given` then waits for what they say.

        Args:
            work: By rank a job, the share and the device, which is what the job is called with; the first is ours.
        """
        self._send(pickle.dumps(("share", (list(work),))))

    def given(self) -> list[Any]:
        """What each follower's share gave, or the exception that it raised, by rank from 1."""
        return [pickle.loads(self._taken(f"answer-{self._given}-{rank}")) for rank in range(1, self.place.world_size)]

    def end(self, told: str | None = None) -> None:
        """Lets the followers go.

        Args:
            told: The run folder, whose model they may read; None where there is none.
        """
        with contextlib.suppress(dist.DistStoreError):  # one that has died, or never came, is the launcher's to end
            self._send(pickle.dumps(("end", told)), GOODBYE)

    def follow(self) -> str | None:
        """Takes part in what the leader hands out, until it says that there is no more; returns what it told then."""
        while True:
            what, given = pickle.loads(self._receive())  # from our own leader, as spawned ranks are handed it
            if what == "end":
                told: str | None = given
                return told
            (self._take_part if what == "fit" else self._do_share)(*given)

    def _do_share(self, work: Sequence[tuple[Callable[..., Any], Any, Any]]) -> None:
        job, share, device = work[self.place.rank]
        try:
            packed = pickle.dumps(job(share, device, None))
        # The leader is told, and decides.
        except Exception as error:
            packed = pickle.dumps(error)
        self._put(f"answer-{self._given}-{self.place.rank}", packed)

    def _take_part(self, words: Mapping[str, Any], module: Any, data: Mapping[str, Any]) -> None:
        from .trainer import fit_trainer, quiet_lightning, trainer_of

        backend = "cpu:gloo,cuda:nccl" if words["accelerator"] in ("cuda", "gpu") else "gloo"
        store = PrefixStore(f"fit-{self._fits}", self._store)
        dist.init_process_group(
            backend, store=store, rank=self.place.rank, world_size=self.place.world_size, timeout=FOREVER
        )
        self._fits += 1
        try:
            with quiet_lightning():
                fit_trainer(trainer_of(words, self.place), module, data)
        finally:
            dist.destroy_process_group()

    def _send(self, packed: bytes, patience: timedelta = FOREVER) -> None:
        self._given += 1
        key = f"given-{self._given}"
        pieces = self._put(key, packed)
        # The store goes with the leader: it waits until everybody has read.
        for rank in range(1, self.place.world_size):
            self._store.wait([f"{key}-read-{rank}"], patience)
        for piece in pieces:
            self._store.delete_key(piece)

    def _receive(self) -> bytes:
        self._given += 1
        key = f"given-{self._given}"
        packed = self._taken(key)
        self._store.set(f"{key}-read-{self.place.rank}", "1")
        return packed

    def _put(self, key: str, packed: bytes) -> list[str]:
        """Puts bytes into the store, in pieces; returns the keys of these."""
        pieces = {f"{key}-{at}": packed[at : at + CHUNK] for at in range(0, len(packed), CHUNK)}
        for name, piece in pieces.items():
            self._store.set(name, piece)
        self._store.set(key, json.dumps(list(pieces)))
        return list(pieces)

    def _taken(self, key: str) -> bytes:
        """Waits for what somebody puts there."""
        self._store.wait([key], FOREVER)
        return b"".join(self._store.get(piece) for piece in json.loads(self._store.get(key)))


def _meeting_point(place: Place) -> Any:
    """The store that all processes of the launch know."""
    if place.slurm:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        cluster = SLURMEnvironment(auto_requeue=False)
        return TCPStore(cluster.main_address, cluster.main_port, place.world_size, place.rank == 0, FOREVER)
    store, *_ = next(rendezvous("env://", timeout=FOREVER))
    # torchrun's store outlives the processes: what those before a restart wrote there is not meant for these.
    return PrefixStore(f"finetune-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


_group: Group | None = None


def group() -> Group | None:
    """The processes that this one belongs to, met once; None where no launcher started it."""
    global _group
    found = place()
    if found is None:
        return None
    if _group is None:
        if not dist.is_available():
            raise ConfigError("This build of torch knows no other processes. Expected one with torch.distributed.")
        _group = Group(found)
    return _group
