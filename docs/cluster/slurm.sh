#!/usr/bin/env bash
#SBATCH --job-name=pets
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time is up: a checkpoint is written, and the job goes back into the queue.
#SBATCH --signal=USR1@120

# One process a GPU, the same command in each. After a requeue it goes on in runs/pets by itself.
srun --kill-on-bad-exit=1 finetune fit /data/pets --backbone resnet50 --scale-lr --warmup-epochs 5 \
  --checkpoint-every 10m --out /shared/runs/pets
