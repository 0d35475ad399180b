"""Silicon by Stillinger and Weber (Phys. Rev. B 31, 5262): a reference that is smooth and costs next to nothing."""

from typing import Any


def calculator() -> Any:
    """As matscipy has it."""
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si

    return Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
