#!/usr/bin/env bash
# The same from a laptop: MD, choice and training here, labels by the queue of a cluster that ssh reaches. Nothing needs
# to reach the laptop, and nothing runs on the login node but sbatch. There `tentpole` is installed too, or your program.
#     examples/09_shell_loop/remote.sh campaign.toml runs/remote me@cluster scratch/remote
set -euo pipefail
campaign=$1 folder=$2 host=$3 there=$4
ssh=${SSH:-ssh}
LABEL=${LABEL:-"tentpole label {} --reference emt --workers 1 --out @"} # {}: the structure's file, @: the one to write
asked=$folder-asked answers=$folder-answers
mkdir -p "$answers"

on_cluster() { # label whatever has no answer yet; a job that this starts again for is found by its answer's file
    command=${LABEL//\{\}/asked/\$name.extxyz}
    cat << SCRIPT
cd '$there'
mkdir -p answers
for structure in asked/*.extxyz; do
    name=\$(basename "\$structure" .extxyz)
    [ -e "answers/\$name.extxyz" ] || sbatch --wait --quiet --output "answers/\$name.log" --wrap \
        "${command//@/answers/\$name.extxyz}" &
done
wait
SCRIPT
}

while tentpole ask "$campaign" --dir "$folder" --out "$asked" || { ended=$?; false; }; do
    $ssh "$host" "rm -rf '$there/asked' && mkdir -p '$there/asked' && tar -x -C '$there/asked'" < <(tar -c -C "$asked" .)
    on_cluster | $ssh "$host" bash -s
    $ssh "$host" "tar -c -C '$there/answers' ." | tar -x -C "$answers"
    told=()
    for structure in "$asked"/*.extxyz; do
        name=$(basename "$structure" .extxyz)
        if [ -e "$answers/$name.extxyz" ]; then told+=("$answers/$name.extxyz"); else told+=(--failed "$name=no label"); fi
    done
    tentpole tell "$folder" "${told[@]}"
done
[ "$ended" = 4 ] || exit "$ended" # 4: there is a verdict
tentpole status "$folder"
