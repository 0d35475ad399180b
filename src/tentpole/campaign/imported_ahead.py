"""What workers and trainings of a campaign find imported: only the process that they are forked from imports this."""

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
    from tentpole.training.server import imported

    imported()
    for _name in WANTED:
        import_module(_name)
