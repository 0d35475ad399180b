"""What a campaign will do and cost, and whether a verdict is within its reach, from its file and one trial label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from tentpole.config.checks import final_audits, initial_labels, unreachable, validation_labels
from tentpole.config.schema import CampaignConfig, FramesSection, LabelledSection, NoValidationSection, RattleSection
from tentpole.config.walkers import conditions_of, judged_conditions, temperatures_K, turns_of
from tentpole.labeling import references
from tentpole.storage.structures import read_structures
from tentpole.units import duration


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was tried, and what was found. `doubtful` is good enough to run, and to be thought over."""

    what: str
    good: bool
    found: str
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of a campaign, as its file has them. `rounds` is None where no limit on them is stated.

    `walkers` are those of a round; where conditions take turns, all have had theirs after `turns` rounds.
    """

    walkers: int
    turns: int
    snapshots: int
    batch: int
    initial: int
    validation: int
    rounds: int | None
    labels: int | None

    @property
    def candidates(self) -> int:
        """Frames a round that the rule chooses from."""
        return self.walkers * self.snapshots

    @property
    def most_labels(self) -> int | None:
        """Labels to the end, at most: of initial frames, validation set and rounds; None: only time is limited."""
        limits = [self.labels] if self.labels is not None else []
        limits += [self.initial + self.rounds * self.batch] if self.rounds is not None else []
        return min(limits) + self.validation if limits else None


def planned(config: CampaignConfig, frames: Mapping[str, Sequence[Atoms]]) -> Plan:
    """The plan of a campaign; `frames` are those that [initial] and [validation] take from files."""
    explore = config.explore
    turns = turns_of(config)
    return Plan(
        walkers=max(map(len, turns)),
        turns=len(turns),
        snapshots=explore.steps // explore.snapshot_every,
        batch=config.selection.batch,
        initial=initial_labels(config, frames),
        validation=validation_labels(config, frames),
        rounds=config.stop.rounds,
        labels=config.stop.labels,
    )


def plan_lines(
    config: CampaignConfig,
    starts: Mapping[str, Atoms],
    frames: Mapping[str, Sequence[Atoms]],
    label_s: float | None,
    workers: int,
) -> Iterator[Line]:
    """The plan in words. `label_s` is the price of one label in seconds, where it is known."""
    plan = planned(config, frames)
    yield _structures(config, starts)
    if isinstance(config.initial, FramesSection):
        yield from _given_energies(config.initial)
    if isinstance(config.initial, LabelledSection):
        words = f"{len(frames['initial'])} of {len(frames['initial'])} frames carry energies and forces: used as labels"
        yield Line("initial frames", True, words)
    yield _rounds(plan)
    if label_s is not None:
        yield _price(config, plan, label_s, workers)
    stress = "stress" in references.load(config.reference).properties
    if why := unreachable(config, stress=stress and any(atoms.pbc.all() for atoms in starts.values())):
        yield Line("verdict", True, "CONVERGED is out of reach: " + "; ".join(why), doubtful=True)
    else:
        yield Line("verdict", True, _verdict_words(config))
        judged = judged_conditions(config)
        if silent := [str(condition) for condition in conditions_of(config) if condition not in judged]:
            reason = "each has no unbiased walker, or a ramp over several rounds"
            yield Line("conditions", True, f"no verdict speaks of {', '.join(silent)}: {reason}", doubtful=True)
    if isinstance(config.validation, NoValidationSection):
        yield _no_validation(config, label_s)


def _verdict_words(config: CampaignConfig) -> str:
    target = config.target
    below = f"below {1000 * target.force_error_eV_per_A:g} meV/Å"
    if config.selection.evidence == "labels":
        return f"CONVERGED needs {target.labels_needed} new labels within {target.rounds} rounds and errors {below}"
    audits, fresh = config.selection.audits, final_audits(config)
    farther = f", for which unbiased walkers go at least {fresh / audits:.2g} times as far" if fresh > audits else ""
    return (
        f"CONVERGED needs errors {below} on {audits} audit frames in each of {target.rounds} rounds, "
        f"then a 95 % bound {below} on {fresh} fresh ones{farther}"
    )


def _structures(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Line:
    words = []
    for name, atoms in starts.items():
        fixed = {int(i) for constraint in atoms.constraints for i in getattr(constraint, "index", ())}
        if fixed and isinstance(config.initial, RattleSection):
            words.append(f"{name}: {len(fixed)} of {len(atoms)} atoms fixed: kept in MD, rattled in the initial labels")
    strains = any(one.strains for one in config.explore.conditions)
    if any(atoms.pbc.any() for atoms in starts.values()) and config.explore.ensemble.kind == "langevin" and not strains:
        words.append("cells keep their size: lattice constants and stress are not explored")
    return Line("motion", True, "; ".join(words) or "all atoms move")


def _given_energies(section: FramesSection) -> Iterator[Line]:
    from tentpole.storage.labelled import ENERGY_KEYS

    frames = read_structures(Path(section.file), section.index, section.file)
    known = sum(
        any(key in atoms.info for key in ENERGY_KEYS) or "energy" in getattr(atoms.calc, "results", {})
        for atoms in frames
    )
    if known:
        words = (
            f"{known} of {len(frames)} frames of {section.file} carry energies, which are ignored: all are labelled "
            'anew. Where they are of this very reference, kind = "labelled" takes them as they are'
        )
        yield Line("initial frames", True, words, doubtful=True)


def _rounds(plan: Plan) -> Line:
    words = (
        f"{_number(plan.walkers, 'walker')} × {_number(plan.snapshots, 'snapshot')} = "
        f"{_number(plan.candidates, 'candidate')} a round, at most {_number(plan.batch, 'label')} a round; "
        f"{plan.initial} initial"
    )
    if plan.turns > 1:
        words = f"conditions take turns over {plan.turns} rounds; {words}"
    if plan.rounds is not None:
        words += f" + {plan.rounds} × {plan.batch} = {plan.initial + plan.rounds * plan.batch}"
    words += " labels" if plan.labels is None else f" labels, of {plan.labels} that are allowed"
    if plan.validation:
        words += f"; {plan.validation} more for the validation set"
    few = plan.candidates < 2 * plan.batch
    if few:
        words += (
            f". That leaves little to choose from: fewer than 2 × selection.batch = {2 * plan.batch} candidates. Make "
            "explore.steps larger, or selection.batch smaller"
        )
    return Line("plan", True, words, doubtful=few)


def _price(config: CampaignConfig, plan: Plan, label_s: float, workers: int) -> Line:
    known = plan.initial if isinstance(config.initial, LabelledSection) else 0
    known += plan.validation if isinstance(config.validation, LabelledSection) else 0
    first = (plan.initial + plan.validation - known) * label_s / workers
    words = f"{duration(first)} before the first committee, {duration(plan.batch * label_s / workers)} a round"
    if plan.most_labels is not None:
        words += f", {duration((plan.most_labels - known) * label_s / workers)} in all at most"
    words += f" on {_number(workers, 'worker')} at {label_s:.3g} s a label; MD and training come on top"
    return Line("labels take", True, words)


def _no_validation(config: CampaignConfig, label_s: float | None) -> Line:
    temperatures = ", ".join(f"{t:g}" for t in temperatures_K(config))
    price = "" if label_s is None else f" and some 880 steps of MD by the reference ({duration(920 * label_s)})"
    words = (
        "none: σ is calibrated on audit frames, and errors are known of new labels alone. To have one for 40 labels"
        f'{price}:\n[validation]\nkind = "reference-md"\nframes = 40\ntemperatures_K = [{temperatures}]'
    )
    return Line("validation set", True, words, doubtful=True)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
