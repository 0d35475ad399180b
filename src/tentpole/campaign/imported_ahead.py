"""What workers of a campaign find imported: this module is imported by the process that they are forked from alone."""

from importlib import import_module

from tentpole.execution.starting import importing

WANTED = (
    "ase.md.langevin",
    "matscipy.neighbours",
    "safetensors.torch",
    "tentpole.campaign.evaluation",
    "tentpole.campaign.exploring",
    "tentpole.committee.calculator",
    "tentpole.entropy.gom.fingerprint",
    "tentpole.entropy.mace_features",
    "tentpole.entropy.species_blocks",
    "tentpole.exploration.scoring",
    "tentpole.labeling.one_label",
)

with importing():
    from tentpole.committee.mace_architecture import mace

    mace("modules")
    for _name in WANTED:
        import_module(_name)
