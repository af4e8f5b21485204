"""The launch files of docs/cluster say what the launchers and the command line understand."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from finetune.cli import app
from finetune.words import joined

FOLDER = Path(__file__).parents[1] / "docs/cluster"


def parsed(words: list[str]) -> dict:
    """What the command line makes of a command, without running it."""
    words = words[words.index("fit") + 1 :]
    command = typer.main.get_command(app).commands["fit"]
    return command.make_context("fit", list(joined(words))).params


def shell(name: str) -> list[str]:
    text = re.sub(r"\\\n\s*", " ", (FOLDER / name).read_text())
    return shlex.split(next(line for line in text.splitlines() if re.match("srun|torchrun", line)))


def test_the_script_for_slurm_asks_for_a_process_a_device_and_is_warned_before_its_time_is_up():
    asked = dict(re.findall(r"#SBATCH --([\w-]+)=?(\S*)", (FOLDER / "slurm.sh").read_text()))
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] and "requeue" in asked
    assert asked["signal"].startswith("USR1@")
    words = parsed(shell("slurm.sh"))
    assert words["backbone"] == "resnet50" and words["scale_lr"] is True and words["out"] == "/shared/runs/pets"


def test_the_line_for_torchrun_starts_the_module():
    words = shell("torchrun.sh")
    assert words[words.index("-m") : words.index("-m") + 3] == ["-m", "finetune", "fit"]
    assert parsed(words)["checkpoint_every"] == "10m"
    from torch.distributed.run import get_args_parser

    known = get_args_parser().parse_args([word.replace("$1", "first") for word in words[1:]])
    assert known.nnodes == "2" and known.max_restarts == 3 and known.module


def test_the_job_for_kubernetes_is_one_its_operator_knows():
    job = yaml.safe_load((FOLDER / "pytorchjob.yaml").read_text())
    assert job["apiVersion"] == "kubeflow.org/v1" and job["kind"] == "PyTorchJob"
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    container = worker["template"]["spec"]["containers"][0]
    assert container["name"] == "pytorch"  # the operator looks for this name
    assert worker["replicas"] == job["spec"]["elasticPolicy"]["maxReplicas"]
    assert int(job["spec"]["nprocPerNode"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in worker["template"]["spec"]["volumes"]}
    assert parsed([*container["command"], *container["args"]])["out"] == "/shared/runs/pets"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", ["slurm.sh", "torchrun.sh"])
def test_the_scripts_are_bash(name):
    assert subprocess.run(["bash", "-n", str(FOLDER / name)], check=False).returncode == 0
