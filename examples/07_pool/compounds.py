#!/usr/bin/env python3
"""Write a made-up table of 240 binary compounds: formula, density, atoms per cell, and a formation energy to learn.

The energy follows from the elements (a charge transfer that grows with the difference in electronegativity, as
Pauling's does, and terms of composition and size) with some noise. No database is asked and no key is needed.

    python compounds.py compounds.csv
"""

import csv
import sys
from pathlib import Path

import numpy as np

# Pauling electronegativity, and a made-up size
METALS = {
    "Mg": (1.31, 1.4),
    "Ca": (1.00, 1.8),
    "Ti": (1.54, 1.4),
    "Fe": (1.83, 1.3),
    "Cu": (1.90, 1.3),
    "Zn": (1.65, 1.3),
}
OTHERS = {"O": (3.44, 0.7), "S": (2.58, 1.0), "N": (3.04, 0.7), "Cl": (3.16, 1.0)}


def rows(seed: int = 0) -> list[list[object]]:
    """Each metal with each non-metal in ten ratios."""
    rng = np.random.default_rng(seed)
    table: list[list[object]] = []
    for metal, (low, large) in METALS.items():
        for other, (high, small) in OTHERS.items():
            for m, o in ((1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (1, 3), (3, 4), (4, 3), (1, 4), (5, 2)):
                share = o / (m + o)
                energy = -((high - low) ** 2) * 2 * share * (1 - share) + 2 * (share - 0.5) ** 2 + (large - small) ** 3
                density = 3.0 + 2.0 * low / large + rng.normal(0.0, 0.2)
                table.append(
                    [f"{metal}{m}{other}{o}", f"{energy + rng.normal(0.0, 0.05):.4f}", f"{density:.3f}", m + o]
                )
    return table


def main(path: Path) -> None:
    """Write the table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["formula", "formation_energy_per_atom", "density", "nsites"])
        writer.writerows(rows())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "compounds.csv"))
