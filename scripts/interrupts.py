#!/usr/bin/env python3
"""How soon the prompt is back after Ctrl-C, in each phase of a campaign, once and twice, on a terminal of 80 × 24."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import tomli_w
from ase.build import bulk
from terminal import Terminal, Watched

PHASES = ("labels", "training", "judging", "MD")


def campaign(folder: Path, *, slow: str) -> Path:
    """A copper campaign in which one phase takes long enough to be interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    bulk("Cu", cubic=True).write(folder / "cu.xyz")
    content = {
        "name": "cu",
        "reference": "emt",
        "structures": [{"file": "cu.xyz"}],
        "stop": {"rounds": 2},
        "initial": {"kind": "rattle", "count": 400 if slow == "labels" else 4, "stdev_A": [0.05]},
        "explore": {
            "temperatures_K": [300, 600],
            "steps": 20000 if slow == "MD" else 20,
            "snapshot_every": 10,
            "bias": {"ratios": [0.0]},
        },
        "committee": {"members": 2},
        "training": {"kind": "mace", "channels": 4, "max_L": 0, "r_max": 4.0, "updates": 10},
        "selection": {"batch": 4},
    }
    if slow == "training":
        content["training"] |= {"updates": 100000, "max_updates": 200000}
    if slow == "judging":
        content["validation"] = {"kind": "reference-md", "frames": 300, "temperatures_K": [300]}
    path = folder / "cu.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


def interrupted(folder: Path, phase: str, *, twice: bool, after_s: float) -> tuple[Watched, float, bool]:
    """What was shown, seconds from the first Ctrl-C to the prompt, and whether there was a traceback."""
    campaign(folder, slow=phase)
    seen = pressed = again = 0.0

    def when(screen: str, now: float) -> str | None:
        nonlocal seen, pressed, again
        last = screen.splitlines()[-1] if screen else ""
        counted = "%" in last and " 0%" not in last
        if not seen and f": {phase}" in last and (counted or phase == "judging"):
            seen = now
        if seen and not pressed and now - seen > after_s:
            pressed = now
            return "C-c"
        if twice and pressed and not again and now - pressed > 0.3:
            again = now
            return "C-c"
        return None

    command = f"{sys.executable} -m tentpole run cu.toml"
    with Terminal(folder) as terminal:
        watched = terminal.run(command, when=when, limit_s=240)
    wrong = "Traceback" in watched.last or "Exception ignored" in watched.last
    return watched, watched.seconds - pressed if pressed else float("nan"), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phases", nargs="*", default=PHASES, help=f"of {', '.join(PHASES)}")
    parser.add_argument("--screens", action="store_true", help="show the last screen of each")
    given = parser.parse_args()
    for phase in given.phases:
        for twice in (False, True):
            folder = Path(tempfile.mkdtemp(prefix="interrupts-"))
            try:
                watched, seconds, wrong = interrupted(
                    folder, phase, twice=twice, after_s=0.5 if phase == "judging" else 1.5
                )
            finally:
                time.sleep(0.5)
                shutil.rmtree(folder, ignore_errors=True)
            keys = "Ctrl-C twice" if twice else "Ctrl-C"
            told = f"prompt after {seconds:.1f} s, status {watched.status}" + (", TRACEBACK" if wrong else "")
            print(f"{phase}: {keys}: {told}", flush=True)
            if given.screens or wrong:
                print(watched.last)


if __name__ == "__main__":
    main()
