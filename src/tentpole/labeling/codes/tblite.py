"""tblite (GFN-xTB). Raises by itself where the charges do not converge."""

from __future__ import annotations

from tentpole.labeling.codes.base import AnyCalculator

# not stateless: tblite restarts from its last density, which would make a label depend on the one before it
TBLITE = AnyCalculator(
    algorithmic=frozenset({"max_iterations", "mixer", "mixer_memory", "mixer_damping", "guess", "annealing"}),
    spin="none",  # tblite would take the sum of starting moments for the number of unpaired electrons
    fixed=(("verbosity", 0),),
)
