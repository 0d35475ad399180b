"""Lennard-Jones that takes its time, and writes down each structure that it begins with."""

import os
import time

from ase.calculators.lj import LennardJones


class Counted(LennardJones):
    """The reference of a tortured campaign."""

    def calculate(self, atoms=None, properties=None, system_changes=()):
        if log := os.environ.get("TORTURE_CALLS"):
            with open(log, "a") as file:
                file.write("begun\n")
        super().calculate(atoms, properties, system_changes)
        time.sleep(0.05)
