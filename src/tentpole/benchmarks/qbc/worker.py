"""One run of a study in its own process: `python -m tentpole.benchmarks.qbc.worker FOLDER RULE SEED WORKERS`."""

from __future__ import annotations

import sys
from pathlib import Path

from tentpole.benchmarks.qbc.study import run_one, settings_from_json
from tentpole.storage.atomic import read_json


def main(folder: str, name: str, seed: str, workers: str) -> None:
    import torch

    torch.set_num_threads(int(workers))  # runs beside this one want their cores
    settings = settings_from_json(read_json(Path(folder) / "settings.json"))
    run_one(settings, Path(folder), name, int(seed), workers=int(workers))


if __name__ == "__main__":
    main(*sys.argv[1:])
