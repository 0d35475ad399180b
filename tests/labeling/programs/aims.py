"""Stands in for FHI-aims: reads control.in and geometry.in as they are, holds them against each other, puts a
Morse potential in the place of DFT, and answers in the format of aims.out. Without input it says who it is.

STANDIN chooses how it ends: "" well, "unconverged", "killed" in mid-run, "truncated" output.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
BANNER = "          FHI-aims version      : 240507\n          Commit number         : abcdef\n"


def control() -> tuple[dict[str, list[str]], list[str]]:
    words: dict[str, list[str]] = {}
    species = []
    for line in Path("control.in").read_text().splitlines():
        parts = line.split("#")[0].split()
        if parts and parts[0] == "species":
            species.append(parts[1])
        elif parts and not species:
            words[parts[0]] = parts[1:]
    return words, species


def main() -> None:  # noqa: C901, a program's steps in a row
    print(BANNER)
    if not Path("control.in").exists():
        sys.exit(1)  # as FHI-aims does in an empty folder
    from ase.io import read

    from tentpole.labeling.mock import morse

    ends = os.environ.get("STANDIN", "")
    words, species = control()
    atoms = read("geometry.in", format="aims")
    symbols = atoms.get_chemical_symbols()
    if set(species) != set(symbols):
        sys.exit(f"species {species} for atoms {symbols}")
    if atoms.pbc.any() != ("k_grid" in words):
        sys.exit("a k_grid goes with lattice vectors, and only with them")
    charge = float(words.get("charge", ["0"])[0])
    electrons = atoms.numbers.sum() - charge
    polarized = words.get("spin", ["none"])[0] == "collinear"
    moments = atoms.get_initial_magnetic_moments() + float(words.get("default_initial_moment", ["0"])[0])
    if polarized and not moments.any():
        sys.exit("spin collinear without an initial moment")
    if moments.any() and not polarized:
        sys.exit("initial moments without spin collinear")
    limit = int(words.get("sc_iter_limit", ["1000"])[0])
    results = morse(atoms, 1.0, 1.5, 5.0)
    print("  Reading geometry description geometry.in.")
    print(f"  | Number of atoms                   : {len(atoms):8d}")
    print(f"  | Number of spin channels           : {2 if polarized else 1:8d}")
    print("  Input geometry:")
    if atoms.pbc.any():
        print("  | Unit cell:")
        for vector in atoms.cell.array:
            print("  |  " + " ".join(f"{x:16.8f}" for x in vector))
    print("  | Atomic structure:")
    print("  |       Atom                x [A]            y [A]            z [A]")
    for i, (symbol, position) in enumerate(zip(symbols, atoms.positions, strict=True), start=1):
        print(f"  | {i:4d}: Species {symbol:12s}" + " ".join(f"{x:16.8f}" for x in position))
    print(f"  The structure contains {len(atoms):8d} atoms,  and a total of {electrons:12.3f} electrons.")
    print("  | Number of Kohn-Sham states (occupied + empty):       16")
    steps = limit if ends == "unconverged" and "n_max_pulay" not in words else 9
    for step in range(1, steps + 1):
        print(f"          Begin self-consistency iteration #{step:5d}")
        if ends == "killed" and step == 3:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    if ends == "unconverged" and steps == limit:
        print("  ** WARNING! SELF-CONSISTENCY CYCLE DID NOT CONVERGE")
        print("  *** scf_solver: SCF cycle not converged.")
        sys.exit(1)
    if polarized:
        print("  Current spin moment of the entire structure :")
        fixed = float(words.get("fixed_spin_moment", [0.9 * moments.sum()])[0])
        where = " (sum over all k points)" if atoms.pbc.any() else " "
        print(f"  | N = N_up - N_down{where}: {abs(fixed):8.2f}")
    print("  Self-consistency cycle converged.")
    if atoms.pbc.any() and words.get("compute_analytical_stress") == [".true."]:
        stress = results["stress"]
        tensor = [stress[[0, 5, 4]], stress[[5, 1, 3]], stress[[4, 3, 2]]]
        edge = "  +-------------------------------------------------------------------+"
        print(edge, "  |              Analytical stress tensor - Symmetrized               |", sep="\n")
        print("  |                  Cartesian components [eV/A**3]                   |", edge, sep="\n")
        print("  |                x                y                z                |")
        print("  |                                                                   |")
        for name, row in zip("xyz", tensor, strict=True):
            print(f"  |  {name}  " + " ".join(f"{x:16.8f}" for x in row) + "  |")
        print(edge)
    energy = results["energy"]
    print("  Energy and forces in a compact form:")
    print(f"  | Total energy uncorrected      : {energy + 0.5:30.15E} eV")
    print(f"  | Total energy corrected        : {energy + 0.25:30.15E} eV")
    print(f"  | Electronic free energy        : {energy:30.15E} eV")
    if words.get("compute_forces") == [".true."]:
        print("  Total atomic forces (unitary forces cleaned) [eV/Ang]:")
        for i, force in enumerate(results["forces"], start=1):
            print(f"  |{i:5d} " + " ".join(f"{x:30.15E}" for x in force))
    if ends == "truncated":
        return
    print(f"  | Number of self-consistency cycles          : {steps:10d}")
    print("\n          Have a nice day.")
    print("------------------------------------------------------------")
    seen = {"words": words, "species": species, "electrons": float(electrons), "pbc": bool(atoms.pbc.any())}
    seen["moments"] = atoms.get_initial_magnetic_moments().tolist()
    if "STANDIN_SEEN" in os.environ:
        Path(os.environ["STANDIN_SEEN"]).write_text(json.dumps(seen))


main()
