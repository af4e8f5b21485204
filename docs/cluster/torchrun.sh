#!/usr/bin/env bash
# On each of two machines: bash torchrun.sh FIRST_MACHINE. A process that dies restarts all, from the last checkpoint.
set -euo pipefail
torchrun --nnodes 2 --nproc-per-node 4 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint "$1:29400" --rdzv-id pets \
  -m finetune fit /data/pets --backbone resnet50 --scale-lr --warmup-epochs 5 --checkpoint-every 10m --out /shared/runs/pets
