"""Processes that a launcher has started: the first one runs, the others help it fit."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch

import finetune as ft
from finetune.errors import ConfigError
from finetune.training import launched as launched_module
from finetune.training.launched import Group
from finetune.training.machine import Machine
from finetune.training.place import Place, follows, place
from tests.running.test_resume import SAME

WORDS = [
    "--backbone",
    "timm/test_resnet",
    "--input-size",
    "32",
    "--weights",
    "none",
    "--method",
    "head-then-full",
    "--head-epochs",
    "1",
    "--epochs",
    "3",
    "--batch-size",
    "3",
    "--workers",
    "0",
    "--norms",
    "train",
    "--checkpoint-every",
    "0s",
    "--accelerator",
    "cpu",
    "--copies",
    "ignore",
    "--seed",
    "1",
]
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}


@pytest.fixture
def launched(monkeypatch):
    def launch(values):
        for name in (*TORCHRUN, *SLURM):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return launch


def test_a_process_knows_its_place_from_what_the_launcher_tells(launched):
    launched({})
    assert place() is None and not follows()
    launched(TORCHRUN)
    assert place() == Place(rank=1, world_size=4, local_size=2, slurm=False) and place().num_nodes == 2 and follows()
    launched(SLURM)
    assert place() == Place(rank=0, world_size=4, local_size=2, slurm=True) and not follows()
    launched({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0", "LOCAL_WORLD_SIZE": "1"})
    assert place() is None  # one process is a run like any other
    launched({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"})
    with pytest.raises(ConfigError, match="as many on every machine"):
        place()


def test_devices_and_nodes_are_those_that_were_started(launched):
    launched(TORCHRUN)
    machine = Machine.of(ft.Plan(accelerator="cpu"))
    assert (machine.devices, machine.num_nodes, machine.world_size, machine.strategy) == (2, 2, 4, "ddp")
    assert Machine.of(ft.Plan(accelerator="cpu", devices=2, num_nodes=2)) == machine
    with pytest.raises(ConfigError, match="2 processes were started on each of 2 machines"):
        Machine.of(ft.Plan(accelerator="cpu", devices=3))
    launched({})
    with pytest.raises(ConfigError, match="nobody has started processes"):
        Machine.of(ft.Plan(accelerator="cpu", num_nodes=2))


def test_what_makes_fits_of_its_own_is_refused_before_anything_is_read(launched, tmp_path):
    launched(TORCHRUN)
    with pytest.raises(ConfigError, match="finetune tune is the work of one process, which"):
        ft.tune(tmp_path / "nothing", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="A study is the work of one process"):
        ft.run_study(ft.Study(compare=lambda studied: {}), out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_leader_does_not_wait_for_ever_for_followers_that_are_gone(monkeypatch):
    monkeypatch.setattr(launched_module, "_meeting_point", lambda place: torch.distributed.HashStore())
    monkeypatch.setattr(launched_module, "GOODBYE", timedelta(seconds=0.2))
    Group(Place(rank=0, world_size=2, local_size=2, slurm=False)).end(None)


def as_it_came(share, device, progress):
    """A job whose result is what it was given to share."""
    return share


def test_what_is_handed_over_may_be_larger_than_a_message_of_the_store(monkeypatch):
    stores = [torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    stores.append(torch.distributed.TCPStore("127.0.0.1", stores[0].port))
    monkeypatch.setattr(launched_module, "_meeting_point", lambda place: stores[place.rank])
    monkeypatch.setattr(launched_module, "FOREVER", timedelta(seconds=20))  # for nothing, where it does not come
    leader, follower = (Group(Place(rank=rank, world_size=2, local_size=2, slurm=False)) for rank in range(2))
    network = os.urandom(20 * 2**20)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follower.follow)
        leader.hand([(as_it_came, None, None), (as_it_came, network, None)])
        assert leader.given() == [network]
        leader.end("run")
        assert following.result() == "run"


def torchrun(source: Path, out: Path, *launch: str, prefix=(), more=()) -> subprocess.Popen:
    module = [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "finetune"]
    command = [*prefix, *module, "fit", str(source), *WORDS, *more, "--out", str(out)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.fixture(scope="module")
def spawned(textures, tmp_path_factory):
    """The same run by processes that it starts by itself."""
    out = tmp_path_factory.mktemp("spawned") / "run"
    subprocess.run(
        [sys.executable, "-m", "finetune", "fit", str(textures), *WORDS, "--devices", "2", "--out", str(out)],
        check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return out


def same(one: Path, other: Path) -> None:
    assert [name for name in SAME if (one / name).read_bytes() != (other / name).read_bytes()] == []


@pytest.mark.thorough
def test_torchrun_gives_what_spawned_ranks_give(tmp_path, textures, spawned):
    run = torchrun(textures, tmp_path / "run", "--nproc-per-node", "2")
    told, _ = run.communicate(timeout=900)
    assert run.returncode == 0, told
    assert told.count("The model is in") == 1, "one process tells"
    same(tmp_path / "run", spawned)


@pytest.mark.thorough
def test_an_error_is_told_once_and_ends_all(tmp_path, textures):
    run = torchrun(tmp_path / "nothing", tmp_path / "run", "--nproc-per-node", "2")
    told, _ = run.communicate(timeout=900)
    assert run.returncode != 0 and told.count("There is no folder") <= 1
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_what_is_computed_once_is_shared_and_the_same(tmp_path, textures, monkeypatch):
    """Features of the probe, which spawned ranks leave to the first process; activations: tests/test_crew.py."""
    words = ["--method", "lp-ft", "--epochs", "2"]
    for name in ("launched", "spawned"):
        monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / f"{name}-cache"))
        if name == "launched":
            run = torchrun(textures, tmp_path / name, "--nproc-per-node", "2", more=words)
        else:
            run = subprocess.Popen(
                [sys.executable, "-m", "finetune", "fit", str(textures), *WORDS, *words, "--devices", "2", "--out",
                 str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        told, _ = run.communicate(timeout=900)
        assert run.returncode == 0, told
    same(tmp_path / "launched", tmp_path / "spawned")
    kept = [sorted((tmp_path / f"{name}-cache").glob("features/*.npy")) for name in ("launched", "spawned")]
    assert kept[0] and [file.read_bytes() for file in kept[0]] == [file.read_bytes() for file in kept[1]]


def _children(process: subprocess.Popen) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def _kill(run: subprocess.Popen) -> None:
    """A launcher and its processes, as when a machine is switched off."""
    for pid in (run.pid, *_children(run)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()


def _wait_for(run: subprocess.Popen, pattern: Path) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end and run.poll() is None and not list(pattern.parent.glob(pattern.name)):
        time.sleep(0.05)


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("pgrep") is None, reason="looks for the processes with pgrep")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_costs_a_restart_and_changes_nothing(tmp_path, textures, spawned, victim):
    run = torchrun(textures, tmp_path / "run", "--nproc-per-node", "2", "--max-restarts", "3")
    _wait_for(run, tmp_path / "run/checkpoints/1-train.steps/0000000*")
    ranks = sorted(_children(run))
    os.kill(ranks[victim], signal.SIGKILL)
    told, _ = run.communicate(timeout=900)
    assert run.returncode == 0, told
    assert "going on at step" in " ".join(told.split()), told
    same(tmp_path / "run", spawned)


def _namespaces() -> bool:
    """Two hosts that are two network namespaces, joined by a pair of virtual cards."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    made = all(
        subprocess.run(["ip", *words.split()], capture_output=True, check=False).returncode == 0
        for words in (
            "netns add ft-a", "netns add ft-b", "link add ft-va type veth peer name ft-vb",
            "link set ft-va netns ft-a", "link set ft-vb netns ft-b", "-n ft-a addr add 10.99.0.1/24 dev ft-va",
            "-n ft-b addr add 10.99.0.2/24 dev ft-vb", "-n ft-a link set ft-va up", "-n ft-b link set ft-vb up",
            "-n ft-a link set lo up", "-n ft-b link set lo up",
        )
    )  # fmt: skip
    if not made:
        _no_namespaces()
    return made


def _no_namespaces() -> None:
    for name in ("ft-a", "ft-b"):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def hosts():
    if not _namespaces():
        pytest.skip("network namespaces cannot be made here: that takes root and iproute2")
    yield [("ip", "netns", "exec", name) for name in ("ft-a", "ft-b")]
    _no_namespaces()


def _on_both(textures: Path, out: Path, hosts, *more: str) -> list[subprocess.Popen]:
    launch = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", "10.99.0.1:29400",
              "--rdzv-id", "test", *more)  # fmt: skip
    started = []
    for number, prefix in enumerate(hosts, 1):
        # Both have the name of this machine, by which torchrun would tell whose address the meeting point is.
        local = ("--local-addr", f"10.99.0.{number}", "--rdzv-conf", f"is_host={number == 1}")
        card = f"GLOO_SOCKET_IFNAME=ft-v{'ab'[number - 1]}"
        started.append(torchrun(textures, out, *launch, *local, prefix=(*prefix, "env", card)))
    return started


@pytest.mark.thorough
def test_two_hosts_give_what_one_gives(tmp_path, textures, spawned, hosts):
    runs = _on_both(textures, tmp_path / "run", hosts)
    told = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(told)
    same(tmp_path / "run", spawned)


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["a killed host", "a cut link"])
def test_a_host_that_is_lost_costs_a_restart(tmp_path, textures, spawned, hosts, what):
    runs = _on_both(textures, tmp_path / "run", hosts)
    _wait_for(runs[0], tmp_path / "run/checkpoints/1-train.steps/0000000*")
    if what == "a killed host":
        _kill(runs[1])
    else:
        subprocess.run(["ip", "-n", "ft-b", "link", "set", "ft-vb", "down"], check=True)
    time.sleep(5)
    for run in runs:
        _kill(run)
    subprocess.run(["ip", "-n", "ft-b", "link", "set", "ft-vb", "up"], check=True)
    # Both hosts are there again, as after a reboot, and the job's command is started again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_RESTART_COUNT", "1")
        runs = _on_both(textures, tmp_path / "run", hosts)
        told = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(told)
    same(tmp_path / "run", spawned)
