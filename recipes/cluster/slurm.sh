#!/bin/bash
# A sweep on the nodes of a Slurm job:  sbatch recipes/cluster/slurm.sh SETTINGS.yaml FOLDER
# SETTINGS.yaml, the model, the environment and FOLDER lie on a file system that all nodes share. Run it again to go on.
#SBATCH --job-name=lorabound
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
# A signal two minutes before the end: what was finished is kept anyway.
#SBATCH --signal=B:TERM@120
set -euo pipefail
settings=$1 folder=$2
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent ahostsv4 "$head" | awk '{print $1; exit}'):6379
export HF_HUB_OFFLINE=1 RAY_USAGE_STATS_ENABLED=0
# Only who has the token in ~/.ray/auth_token may run code on this cluster; the home folder is shared too.
export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null
# The same command on every node: the first one runs the sweep when all have joined, the others train.
srun --kill-on-bad-exit=1 ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" -- \
  lorabound sweep "$settings" --executor ray --address "$address" --out "$folder"
