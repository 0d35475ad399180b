#!/bin/bash
#PBS -S /bin/bash
#PBS -N JOB
#PBS -m n
#PBS -l walltime=12:00:00
#PBS -l select=2:ncpus=32:mem=180gb
#PBS -o DIR/JOB.stdout
#PBS -e DIR/JOB.stderr
#PBS -l place=excl
module load intel/2024
module load vasp/6.4.2
export PATH="BIN:$PATH"
export OMP_NUM_THREADS=8
export OPENBLAS_NUM_THREADS=8
export MKL_NUM_THREADS=8
export PYTHONSAFEPATH=1
ulimit -s unlimited
