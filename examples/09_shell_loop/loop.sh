#!/usr/bin/env bash
# A campaign from the shell: every structure that wants a label is a file, and every label a job of the queue.
# What computes it is up to you: any program whose output ASE reads. Start it again at any time: it goes on.
#     examples/09_shell_loop/loop.sh campaign.toml runs/shell
set -euo pipefail
campaign=$1 folder=$2
asked=$folder-asked
label() { # a structure's file: its label beside it, by a job that this waits for
    sbatch --wait --quiet --output "${1%.extxyz}.log" --wrap \
        "tentpole label '$1' --reference emt --workers 1 --out '${1%.extxyz}.labelled.extxyz'" ||
        echo "no label: $1" >&2
}

while tentpole ask "$campaign" --dir "$folder" --out "$asked"; do
    told=()
    for structure in "$asked"/*[0-9a-f].extxyz; do
        [ -e "${structure%.extxyz}.labelled.extxyz" ] || label "$structure" &
    done
    wait
    for structure in "$asked"/*[0-9a-f].extxyz; do
        answer=${structure%.extxyz}.labelled.extxyz
        if [ -e "$answer" ]; then told+=("$answer"); else told+=(--failed "$structure=no output"); fi
    done
    tentpole tell "$folder" "${told[@]}"
done
tentpole status "$folder"
