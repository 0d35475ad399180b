"""Proof that a campaign can run, before it does: each line is something tried, not something assumed."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list

from tentpole.campaign.first_structures import refuse_too_few_copies, with_variants
from tentpole.campaign.folder import open_config
from tentpole.campaign.own_labels import own_labels_line, telling_frame
from tentpole.campaign.paths import CAMPAIGN_FILE
from tentpole.campaign.plan import Line, plan_lines, planned
from tentpole.committee.baseline import Baseline
from tentpole.committee.foundation_models import check_species
from tentpole.committee.mace_architecture import mace
from tentpole.config.baseline import whole_first
from tentpole.config.checks import standing_still
from tentpole.config.loading import given_frames, starting_structures
from tentpole.config.proposal import CHEAP
from tentpole.config.schema import (
    CampaignConfig,
    CheapLabelsSection,
    CheapReferenceSection,
    EarlierCommitteeSection,
    FoundationSection,
    LabelledSection,
    LabelPlaces,
    LocalSection,
    ParslTrainingSection,
    QueueSection,
    RattleSection,
    TrainingPlaces,
    TrainingQueueSection,
)
from tentpole.config.walkers import temperatures_K
from tentpole.errors import InputError, TentpoleError, require_module
from tentpole.exploration.jobs import Stacked
from tentpole.exploration.modes import NormalModes
from tentpole.exploration.variants import EXTRA
from tentpole.labeling.trial import Trial
from tentpole.progress import NoProgress, ProgressListener
from tentpole.records import FloatArray, bare, state_of
from tentpole.selection import KeyedRule, make_rule
from tentpole.units import duration

ENOUGH_GB = 1.0
ANEW = "energies of isolated atoms are estimated anew, around what that predicts for the first labels"
HIGH_TARGET, HIGH_K, LONG_FS = 1.0, 10_000.0, {True: 2.0, False: 6.0}
"""A force error in eV/Å, a temperature and, with hydrogen and without, a time step beyond which one asks again."""
QUICK_s = 1.0
"""A label of a cheap reference that takes less is timed once more, as a step of MD."""


def check_campaign(source: Path, progress: ProgressListener | None = None) -> Iterator[Line]:
    """Try everything that a campaign needs, and say what it will do.

    Raises InputError where the file itself cannot be used.
    """
    told = progress or NoProgress()
    config = open_config(source)
    place = source / CAMPAIGN_FILE if source.is_dir() else source
    starts, frames = starting_structures(config, place), given_frames(config, place)
    names = ", ".join(f"{name} ({atoms.get_chemical_formula()})" for name, atoms in starts.items())
    yield Line("campaign file", True, f"{config.name}: {names}")
    yield _disk(source)
    yield from _magnetism(config, starts.values())
    yield from _rule(config)
    yield from _magnitudes(config, starts)
    yield from _variants(config, starts)
    own = telling_frame(frames["initial"]) if isinstance(config.initial, LabelledSection) else None
    told.progress(f'labelling one structure by "{config.reference}", then others near it', 0, 0)
    tried = _try_reference(config, starts, own)
    yield from _reference(
        config, tried, "first structure, rattled by 0.02 Å" if own is None else "your frame with the largest force"
    )
    if own is not None and isinstance(tried, Trial) and tried.label is not None:
        yield own_labels_line(own, tried.label)
    yield from _pretraining(config, starts, frames)
    yield from _baseline(config, starts)
    yield from _stacked(config, starts)
    told.progress("starting a worker", 0, 0)
    yield _workers(config)
    for name, section in (("executor", config.executor), ("training_executor", config.training_executor)):
        if section.kind != "local":
            yield _queue(name, section, source)
    seconds = tried.seconds if isinstance(tried, Trial) and tried.ok else None
    yield from _committee(config, starts, frames, seconds, told)


def _committee(
    config: CampaignConfig,
    starts: Mapping[str, Atoms],
    frames: Mapping[str, Sequence[Atoms]],
    label_s: float | None,
    told: ProgressListener,
) -> Iterator[Line]:
    """The models' packages, imported in one other process, which then trains: this one could show nothing meanwhile."""
    from tentpole.campaign.timing import cost_lines, measured
    from tentpole.execution.local import local

    with local(1) as executor:
        told.progress("importing mace and torch", 0, 0)
        import_s = 0.0
        try:
            words, import_s = executor.submit(import_models).result()
            yield Line("models", True, words)
        except ImportError as error:
            yield Line("models", False, f'{error}. Install it: pip install "tentpole"')
        for name in config.committee.foundations:
            yield _foundation(name, [z for atoms in starts.values() for z in atoms.numbers])
        yield from plan_lines(config, starts, frames, label_s, _places(config))
        told.progress("training for a moment", 0, 0)
        try:
            cost = executor.submit(measured, config, dict(starts), import_s).result()
        except Exception as error:  # whatever the models' packages raise: the same would end a campaign
            yield Line("training", False, f"{type(error).__name__}: {error}")
            return
    if cost is not None:
        yield from cost_lines(config, planned(config, frames), cost, label_s, _places(config))


def _disk(source: Path) -> Line:
    free = shutil.disk_usage(source.resolve().parent).free / 1e9
    return Line("disk", free > ENOUGH_GB, f"{free:.0f} GB free")


def _magnitudes(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[Line]:
    """Numbers that are legal, and of a size that a slip of the unit has."""
    apart = min(float(neighbor_list("d", atoms, 6.0).min(initial=math.inf)) for atoms in starts.values())
    if config.training.r_max < apart < math.inf:
        words = f"{config.training.r_max:g} Å, and nearest neighbours are {apart:.3g} Å apart: members would see none"
        yield Line("training.r_max", False, words)
    target, hottest = config.target.force_error_eV_per_A, max(temperatures_K(config))
    if target > HIGH_TARGET:
        words = f"{target:g} eV/Å is as large as forces are. Is it meant in meV/Å? Then write {target / 1000:g}"
        yield Line("target.force_error_eV_per_A", True, words, doubtful=True)
    if hottest > HIGH_K:
        yield Line("temperatures", True, f"{hottest:g} K: nothing that you begin with will last", doubtful=True)
    if still := standing_still(config, starts):
        words = f"{', '.join(still)}: one atom alone does not move in MD, all its snapshots would be the same"
        yield Line("structures", True, words, doubtful=True)
    light = any((atoms.numbers == 1).any() for atoms in starts.values())
    step, most = config.explore.ensemble.timestep_fs, LONG_FS[light]
    if step > most:
        words = f"{step:g} fs: MD is seldom stable beyond {most:g} fs {'with' if light else 'without'} hydrogen"
        yield Line("explore.ensemble.timestep_fs", True, words, doubtful=True)
    if isinstance(config.initial, RattleSection) and max(config.initial.stdev_A) > apart / 4:
        words = f"{max(config.initial.stdev_A):g} Å, nearest neighbours are {apart:.3g} Å apart: atoms would collide"
        yield Line("initial.stdev_A", True, words, doubtful=True)


def _variants(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[Line]:
    """What [initial] makes of the starting structures, made but for displacements along modes."""
    section = config.initial
    if not isinstance(section, RattleSection) or not section.variants:
        return
    try:
        for variant in section.variants:
            if isinstance(variant, NormalModes):
                require_module("phonopy", extra=EXTRA, needed_by="displacing along modes")
        bases = with_variants(config, section, starts, None)
        refuse_too_few_copies(section, bases)
    except InputError as error:
        yield Line("initial variants", False, str(error))
        return
    made = ", ".join(f"{name} ({atoms.get_chemical_formula()})" for name, atoms in bases.items() if name not in starts)
    yield Line("initial variants", True, f"{len(bases) - len(starts)}: {made[:300]}{' …' if len(made) > 300 else ''}")


def _stacked(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[Line]:
    """The user's calculator around a driver that stands in for the committee."""
    section = config.explore.stacked
    if section is None:
        return
    atoms = bare(next(iter(starts.values())))
    npt = config.explore.ensemble.kind == "npt"
    try:
        driver = LennardJones(sigma=1.5, epsilon=0.1)
        atoms.calc = Stacked(section.calculator, section.parameters).around(driver, atoms, stress=npt)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        stress = atoms.get_stress() if npt else 0.0
    except Exception as error:  # whatever the user's code raises: the same would end a campaign
        yield Line("stacked calculator", False, f"{type(error).__name__}: {error}")
        return
    whole = np.shape(forces) == (len(atoms), 3) and np.isfinite(np.sum(forces) + energy + np.sum(stress))
    name = type(atoms.calc).__name__
    if whole:
        words = f"{name} gives energy and forces around a driver that stands in for the committee"
    else:
        words = f"{name} gives energy {energy}, forces of shape {np.shape(forces)}: finite ones are wanted"
    yield Line("stacked calculator", bool(whole), words)


def _rule(config: CampaignConfig) -> Iterator[Line]:
    """A doubt where the selection rule has a setting that its user should know more of."""
    rule = make_rule(config.selection.rule, **config.selection.settings)
    if isinstance(rule, KeyedRule) and rule.warning:
        yield Line("selection", True, rule.warning, doubtful=True)


def _magnetism(config: CampaignConfig, structures: Iterable[Atoms]) -> Iterator[Line]:
    """A doubt where open d or f shells meet DFT and the campaign says neither moments nor a multiplicity."""
    from tentpole.labeling import references
    from tentpole.labeling.magnetism import unstated

    stated = config.magnetism is not None or any(
        state_of(atoms, config.charge, config.multiplicity)[1] is not None for atoms in structures
    )
    doubt = "" if stated else unstated(references.load(config.reference), structures)
    if doubt:
        yield Line("magnetism", True, doubt, doubtful=True)


def _try_reference(config: CampaignConfig, starts: Mapping[str, Atoms], own: Atoms | None) -> Trial | TentpoleError:
    """One label in a fresh worker, and some around it: of `own`, or of the first structure, rattled a little."""
    from tentpole.exploration.initial import rattled
    from tentpole.labeling import references
    from tentpole.labeling.trial import trial

    elements = [symbol for start in starts.values() for symbol in start.get_chemical_symbols()]
    tried = rattled(dict(starts), 1, [0.02], np.random.default_rng(0))[0][1] if own is None else bare(own)
    try:
        return trial(
            references.load(config.reference, elements),
            tried,
            *state_of(tried, config.charge, config.multiplicity),
            time_limit_s=config.executor.label_time_limit_s,
            prove=True,
        )
    except TentpoleError as error:
        return error


def _reference(config: CampaignConfig, tried: Trial | TentpoleError, structure: str) -> Iterator[Line]:
    what = f'reference "{config.reference}"'
    if isinstance(tried, TentpoleError):
        yield Line(what, False, str(tried))
        return
    if not tried.ok:
        words = tried.message if tried.reason == "not_configured" else f"{tried.reason}: {tried.message}"
        add, advice = tried.configuration.add, tried.configuration.advice
        lines = f"\nAdd to ASE's config:\n{add}" if add else f"\n{advice}" if advice else ""
        yield Line(what, False, words + lines)
        return
    words = (
        f"{tried.energy_eV:.4f} eV, largest force {tried.max_force_eV_per_A:.2f} eV/Å ({structure}); "
        f"{tried.seconds:.3g} s a label, {tried.start_s:.3g} s to start, {tried.peak_memory_GB:.2f} GB at most"
    )
    if config.stop.labels is not None:
        seconds = 3600 * tried.projected_hours(config.stop.labels, 1)
        words += f"; {config.stop.labels} labels would take about {duration(seconds)} on one worker"
    yield Line(what, True, words)
    for finding in tried.findings:
        yield Line(f"its {finding.what}", finding.good, finding.words, finding.doubtful)


def _pretraining(
    config: CampaignConfig, starts: Mapping[str, Atoms], frames: Mapping[str, Sequence[Atoms]]
) -> Iterator[Line]:
    """What members start from: a label of the cheap reference, tried, and what all of them cost."""
    section = config.pretraining
    if words := _start(config):
        yield Line("start", True, words)
    if isinstance(section, EarlierCommitteeSection):
        yield Line("pretraining", True, f"members go on from those in {section.folder}; {ANEW}")
    elif isinstance(section, FoundationSection):
        words = f"members have the body of {section.model} and readouts of their own; {ANEW}"
        yield Line("pretraining", True, words)
    elif isinstance(section, CheapLabelsSection):
        yield Line("pretraining", True, f"{len(frames['pretraining'])} frames of {section.file}; {ANEW}")
    elif section is not None:
        yield _cheap_reference(config, section, starts, frames.get("pretraining"))


def _start(config: CampaignConfig) -> str:
    """What becomes of what members know, once there are labels; what would save labels where they know nothing."""
    from tentpole.labeling import references

    if config.pretraining is None:
        dear = config.baseline is None and not references.load(config.reference).import_path.startswith(CHEAP)
        return (
            "random weights; a cheap method learned first saves most labels: [pretraining], [baseline]" if dear else ""
        )
    kept = {
        "naive": "trainings on labels change all weights",
        "frozen": "trainings on labels change the readouts alone",
        "lora": f"trainings on labels change all linear layers by matrices of rank {config.training.lora_rank}",
        "replay": f"trainings on labels change all weights, {config.training.replay_frames} known frames among them",
    }[config.training.finetuning]
    linear = config.training.solve == "instead"
    if linear:
        kept = "labels are fitted by a change of the weights that energies are taken as linear in, solved for in one go"
    learn = "the same weights" if linear else "fresh readouts"
    fresh = f"whole energies first; from the first label on {learn} learn the difference to the baseline; "
    return (fresh if whole_first(config) else "") + kept


def _cheap_reference(
    config: CampaignConfig,
    section: CheapReferenceSection,
    starts: Mapping[str, Atoms],
    given: Sequence[Atoms] | None,
) -> Line:
    from tentpole.labeling import references
    from tentpole.labeling.trial import trial

    what, some = f'pretraining by "{section.reference}"', [*starts.values()] if given is None else given
    elements = sorted({symbol for atoms in some for symbol in atoms.get_chemical_symbols()})
    try:
        own, cheap = references.load(config.reference, elements), references.load(section.reference, elements)
        if own.hash == cheap.hash:
            return Line(what, False, "that is the campaign's own reference: labels at the campaign's price")
        tried = trial(cheap, bare(some[0]), *state_of(some[0], config.charge, config.multiplicity))
    except TentpoleError as error:
        return Line(what, False, str(error))
    if not tried.ok:
        return Line(what, False, f"{tried.reason}: {tried.message}")
    labels = section.frames if given is None else len(given)
    calls = labels if given is not None else labels + round(1.1 * labels * section.every)
    seconds = tried.seconds
    if seconds < QUICK_s:  # most of that is its start, which the MD between labels pays once
        one = Baseline(section.reference, config.charge, config.multiplicity)
        seconds = min(seconds, _timed(one, some[0])[1])
    words = f"{labels} labels" + ("" if given is not None else ", and MD between them")
    words += f", take about {duration(calls * seconds)} on one core; {section.updates} updates a member follow; {ANEW}"
    return Line(what, True, words)


def _baseline(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Iterator[Line]:
    """The baseline, tried on every starting structure, and what it costs at every MD step."""
    if config.baseline is None:
        return
    what = f'baseline "{config.baseline.reference}"'
    try:
        baseline, slowest = Baseline(config.baseline.reference, config.charge, config.multiplicity), 0.0
        for name, atoms in starts.items():
            (energy, forces, _), seconds = _timed(baseline, atoms)
            slowest = max(slowest, seconds)
            if not (math.isfinite(energy) and np.isfinite(forces).all()):
                said = baseline.said or "its numbers are not finite"
                yield Line(what, False, f'nothing for structure "{name}": {said}. Take one that knows its elements')
                return
    except TentpoleError as error:
        yield Line(what, False, str(error))
        return
    yield Line(what, True, f"hash {baseline.hash}; {1000 * slowest:.3g} ms a structure, paid at every MD step")


def _timed(baseline: Baseline, atoms: Atoms) -> tuple[tuple[float, FloatArray, FloatArray], float]:
    """What it says of a structure, and the seconds of a call that is not its first, which may compile."""
    baseline.of(atoms)
    began = time.perf_counter()
    return baseline.of(atoms), time.perf_counter() - began


def _places(config: CampaignConfig) -> int:
    """How many labels are computed at the same time."""
    section = config.executor
    if isinstance(section, LocalSection):
        return section.workers or len(os.sched_getaffinity(0))
    if isinstance(section, QueueSection):
        return section.jobs * section.nodes * section.workers
    return 1


def _workers(config: CampaignConfig) -> Line:
    from tentpole.execution.pools import Workers

    local = config.executor
    wanted = Workers(local.workers if isinstance(local, LocalSection) else 0).processes
    workers = Workers(1)
    try:
        began = time.perf_counter()
        pid = workers.executor.submit(os.getpid).result(timeout=120)
        seconds = time.perf_counter() - began
        return Line("workers", True, f"{wanted}; the first (pid {pid}) answered in {seconds:.1f} s")
    except Exception as error:
        return Line("workers", False, f"{type(error).__name__}: {error}")
    finally:
        workers.close()


def _queue(name: str, section: LabelPlaces | TrainingPlaces, source: Path) -> Line:
    """Parsl's configuration can be made, and the program that takes jobs is there."""
    from tentpole.execution import queues

    try:
        if isinstance(section, ParslTrainingSection):
            made = queues.load_config(section.config)
        else:
            assert isinstance(section, TrainingQueueSection)
            made = queues.parsl_config({name: section.build()}, source.resolve().parent)
    except TentpoleError as error:
        return Line(f"[{name}]", False, str(error))
    labels = ", ".join(executor.label for executor in made.executors)
    program = queues.PROGRAMS.get(section.kind)
    if program is not None and shutil.which(program) is None:
        return Line(f"[{name}]", False, f'kind = "{section.kind}" needs {program} here: run on a node that has it')
    return Line(f"[{name}]", True, f"{section.kind}: {labels if section.kind == 'parsl' else program or 'Parsl'}")


def import_models() -> tuple[str, float]:
    """Import the models' packages; their versions in words, and the seconds that it took."""
    began = time.perf_counter()
    import torch

    mace("modules")
    device = "GPU" if torch.cuda.is_available() else "CPU"
    seconds = time.perf_counter() - began
    versions = f"mace {metadata.version('mace-torch')}, torch {torch.__version__} on {device}"
    return f"{versions}, imported in {seconds:.1f} s", seconds


def _foundation(name: str, numbers: Sequence[int]) -> Line:
    began = time.perf_counter()
    try:
        check_species(name, numbers)
    except InputError as error:
        return Line(f'foundation model "{name}"', False, str(error))
    return Line(f'foundation model "{name}"', True, f"loaded in {time.perf_counter() - began:.1f} s")
