#!/bin/bash
#SBATCH --job-name="demo"
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append
#SBATCH --output="/o/demo/slurm/1/%A_%a.log"
#SBATCH --requeue

# A task of the array runs the folders on one line of tasks.txt: sbatch --array=0-9 submit.sh 0 runs the first ten lines.

told=
trap told=yes USR1  # 120 s before the time limit, or at a preemption
trap : TERM         # cancelled: the job is told as well; stay until it has saved

cd '/home/a b' || exit 1
IFS=$'\t' read -r -a folders < <(sed -n "$(($1 + SLURM_ARRAY_TASK_ID + 1))p" /o/demo/slurm/1/tasks.txt)
log=${folders[0]}/job.log

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}

# One process per node, which starts one per device and tells each its rank; what Slurm says of ranks would be in its way.
run() {
  export NODE_RANK=${SLURM_NODEID:-0}
  unset SLURM_PROCID SLURM_LOCALID SLURM_NODEID SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_STEP_ID
  exec /v/bin/python -m advarch.cli.job "$@"
}
run "${folders[@]}" >> "$log" 2>&1 &
step=$!

# Told again and again: the first signal may come before anybody listens.
while kill -0 $step 2> /dev/null; do
  [ -z "$told" ] || kill -USR1 $step 2> /dev/null
  sleep 1
done
wait $step
code=$?

# 75: another process works in the folder, come back later. 79: told to stop, and saved. Above 128: ended before it could listen.
if [ $code -ne 75 ] && { [ -z "$told" ] || { [ $code -ne 79 ] && [ $code -le 128 ]; }; }; then
  [ $code -le 128 ] || echo "advarch: ended by signal $((code - 128))" >> "$log"
  exit $code
fi
if [ "${SLURM_RESTART_COUNT:-0}" -ge 20 ]; then
  echo "advarch: not queued again after 20 times" >> "$log"
  exit $code
fi
scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
