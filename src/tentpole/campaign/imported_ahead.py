"""What workers of a campaign find imported: this module is imported by the process that they are forked from alone."""

from tentpole.execution.starting import importing

with importing():
    import ase.md.langevin  # noqa: F401
    import numba  # noqa: F401

    import tentpole.campaign.exploring  # noqa: F401
    from tentpole.committee.mace_architecture import mace

    mace("modules")
