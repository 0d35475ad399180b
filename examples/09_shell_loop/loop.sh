#!/usr/bin/env bash
# A campaign from the shell: every structure that wants a label is a file, and every label a job of the queue.
# What computes it is up to you: LABEL is any command that takes a structure's file and writes one that ASE reads with its
# energy and forces; {} is the first and @ the second. Start the loop again at any time: it goes on.
#     examples/09_shell_loop/loop.sh campaign.toml runs/shell
set -euo pipefail
campaign=$1 folder=$2
asked=$folder-asked answers=$folder-answers
LABEL=${LABEL:-"tentpole label {} --reference emt --workers 1 --out @"}
command -v sbatch > /dev/null || { echo "loop.sh: no sbatch here: it is Slurm's, see README.md beside this" >&2; exit 1; }
mkdir -p "$answers"

label() { # of the structure in asked/NAME.extxyz, as answers/NAME.extxyz, by a job that this waits for
    command=${LABEL//\{\}/$asked/$1.extxyz}
    sbatch --wait --quiet --output "$answers/$1.log" --wrap "${command//@/$answers/$1.extxyz}" || true
}

while tentpole ask "$campaign" --dir "$folder" --out "$asked" || { ended=$?; false; }; do
    told=()
    for structure in "$asked"/*.extxyz; do
        name=$(basename "$structure" .extxyz)
        [ -e "$answers/$name.extxyz" ] || label "$name" &
    done
    wait
    for structure in "$asked"/*.extxyz; do
        name=$(basename "$structure" .extxyz)
        if [ -e "$answers/$name.extxyz" ]; then told+=("$answers/$name.extxyz"); else told+=(--failed "$name=no label"); fi
    done
    tentpole tell "$folder" "${told[@]}"
done
[ "$ended" = 4 ] || exit "$ended" # 4: there is a verdict
tentpole status "$folder"
