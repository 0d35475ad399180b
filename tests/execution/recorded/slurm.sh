#!/bin/bash
#SBATCH --job-name=JOB
#SBATCH --output=DIR/JOB.stdout
#SBATCH --error=DIR/JOB.stderr
#SBATCH --nodes=2
#SBATCH --time=720
#SBATCH --ntasks-per-node=1
#SBATCH --qos=long
#SBATCH --partition=normal
#SBATCH --account=p123
#SBATCH --mem=180g
#SBATCH --cpus-per-task=32
module load intel/2024
module load vasp/6.4.2
export PATH="BIN:$PATH"
export OMP_NUM_THREADS=8
export OPENBLAS_NUM_THREADS=8
export MKL_NUM_THREADS=8
export PYTHONSAFEPATH=1
ulimit -s unlimited
export PARSL_MEMORY_GB=180
export PARSL_CORES=32
