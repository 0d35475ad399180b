#!/bin/bash
#BSUB -W 720
#BSUB -J JOB
#BSUB -o DIR/JOB.submit.stdout
#BSUB -e DIR/JOB.submit.stderr
#BSUB -x
#BSUB -P p123
#BSUB -q normal
#BSUB -nnodes 2
module load intel/2024
module load vasp/6.4.2
export PATH="BIN:$PATH"
export OMP_NUM_THREADS=8
export OPENBLAS_NUM_THREADS=8
export MKL_NUM_THREADS=8
export PYTHONSAFEPATH=1
ulimit -s unlimited
