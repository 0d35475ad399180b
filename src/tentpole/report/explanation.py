"""The story of one frame: why it was labelled, or was not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tentpole.campaign.record import CampaignRecord, FrameRecord
from tentpole.errors import InputError, nearest
from tentpole.exploration import Exploration
from tentpole.exploration.files import read_exploration
from tentpole.records import Scores, Snapshot
from tentpole.report.tables import milli, number
from tentpole.storage.labels import read_label


def explain(root: Path, snapshot_id: str) -> str:
    """Why a frame was labelled, or was not, in a few lines.

    Parameters
    ----------
    root : Path
        The campaign folder.
    snapshot_id : str
        Any snapshot in any shard, any initial or validation structure, any step at which a walker was sent back.

    Returns
    -------
    str

    Raises
    ------
    InputError
        With the nearest right id, for an id that names none of these.
    StateError
        For what is no campaign folder.
    """
    record = CampaignRecord.read(root)
    frames = {frame.request.id: frame for frame in record.frames}
    asked = frames.get(snapshot_id)
    if asked is not None and not asked.request.scores:
        return "\n".join([f"{snapshot_id}: {asked.request.reason}", *_outcome(asked)])
    round_number, walker, step = _parse(snapshot_id)
    shards = record.explorations(round_number) if walker else {}
    if walker not in shards:
        raise _unknown(record, snapshot_id, list(frames))
    shard = shards[walker]
    for snapshot, scores in zip(shard.snapshots, shard.scores, strict=True):
        if snapshot.id == snapshot_id:
            return "\n".join(_story(record, snapshot, scores, shards, frames))
    for mishap in shard.mishaps:
        if mishap.step == step:
            return (
                f"{snapshot_id}: not a candidate. At this step walker {walker} ({shard.walker.condition}) was sent "
                f"back to its last healthy state: {mishap.reason} ({mishap.message}). The frame was not kept."
            )
    raise _unknown(record, snapshot_id, list(frames))


def _story(
    record: CampaignRecord,
    snapshot: Snapshot,
    scores: Scores,
    shards: dict[str, Exploration],
    frames: dict[str, FrameRecord],
) -> list[str]:
    head = f"{snapshot.id}: walker {snapshot.walker}, {snapshot.condition}, step {snapshot.step}"
    if scores.failed or not scores.finite:
        return [head, f"Not a candidate: it could not be scored ({scores.failed or 'its scores are not finite'})."]
    rivals = [
        (other.id, s)
        for shard in shards.values()
        for other, s in zip(shard.snapshots, shard.scores, strict=True)
        if not s.failed and s.finite
    ]
    of_round = [frame for frame in frames.values() if frame.round == snapshot.round]
    by_rule = {frame.request.id for frame in of_round if not frame.request.audit}
    picked = [s for key, s in rivals if key in by_rule]
    lines = [
        head,
        f"σ_E {milli(scores.energy_std_per_atom)} meV/atom, σ_F {milli(scores.force_std)} meV/Å, "
        f"max σ_F {milli(scores.max_force_std)} meV/Å, gain {number(scores.gain)} before the round's labels.",
        f"Among the {len(rivals)} candidates of round {snapshot.round}: "
        f"rank {_rank([s.force_std for _, s in rivals], scores.force_std)} by σ_F, "
        f"rank {_rank([s.gain for _, s in rivals], scores.gain)} by gain (1: the highest).",
    ]
    lines += _keys(record, snapshot, scores)
    if picked:
        lines.append(
            f"The {len(picked)} picked by the rule have σ_F {milli(min(s.force_std for s in picked))} to "
            f"{milli(max(s.force_std for s in picked))} meV/Å and gain {number(min(s.gain for s in picked))} to "
            f"{number(max(s.gain for s in picked))}."
        )
    lines += _queued(record, snapshot)
    asked = frames.get(snapshot.id)
    if asked is not None:
        reason = asked.request.reason.removeprefix("audit: ")
        who = "for audit" if asked.request.audit else f"by the rule {record.settings.at(snapshot.round).selection.rule}"
        return [*lines, f"Picked {who}: {reason}.", *_outcome(asked)]
    if not of_round:
        decided = snapshot.round < len(record.rounds)
        why = "the rule thought no frame of its round worth a label" if decided else "its round is not decided yet"
        return [*lines, f"Not labelled: {why}."]
    return [*lines, *_passed_over(record, snapshot, scores, picked, of_round, frames)]


def _keys(record: CampaignRecord, snapshot: Snapshot, scores: Scores) -> list[str]:
    """Which keys of the rule a frame passes, where the rule has keys."""
    funnel = record.rounds[snapshot.round].facts.funnel if snapshot.round < len(record.rounds) else None
    if funnel is None or funnel.threshold is None:
        return []
    sigma = scores.sigma(record.settings.at(snapshot.round).selection.sigma, len(snapshot.atoms))
    passes = sigma >= funnel.threshold
    first = f"First key: σ {milli(sigma)} {'≥' if passes else '<'} {milli(funnel.threshold)} meV/Å: "
    first += "passes." if passes else "fails."
    if funnel.floor is None:
        return [first + " Second key: none, the gain ranks what passed."]
    above = scores.gain >= funnel.floor
    second = f" Second key: gain {number(scores.gain)} {'≥' if above else '<'} {number(funnel.floor)}: "
    return [first + second + ("passes." if above else "fails.")]


def _queued(record: CampaignRecord, snapshot: Snapshot) -> list[str]:
    """What was said of a frame that waited in the queue and was dropped from it."""
    if snapshot.round >= len(record.rounds):
        return []
    return [
        f"Queued for a label while the labels of round {snapshot.round - 1} were computed, then dropped: "
        f"{frame.reason}."
        for frame in record.rounds[snapshot.round].facts.dropped
        if frame.id == snapshot.id
    ]


def _passed_over(
    record: CampaignRecord,
    snapshot: Snapshot,
    scores: Scores,
    picked: Sequence[Scores],
    of_round: Sequence[FrameRecord],
    frames: dict[str, FrameRecord],
) -> list[str]:
    """Why a candidate was not among the picked, as far as its numbers tell."""
    rule = [frame for frame in of_round if not frame.request.audit]
    selection = record.settings.at(snapshot.round).selection
    lines = [
        f"Not picked: the rule {selection.rule} took {len(rule)} frames (at most {selection.batch} a round, audit "
        "included), and this was not one of them."
    ]
    below = [
        name
        for name, value, others in (
            ("σ_F", scores.force_std, [s.force_std for s in picked]),
            ("gain", scores.gain, [s.gain for s in picked]),
        )
        if others and value < min(others)
    ]
    if below:
        lines.append(f"Its {' and its '.join(below)} {'is' if len(below) == 1 else 'are'} below every picked one's.")
    same = sum(frame.condition == str(snapshot.condition) for frame in rule)
    lines.append(f"{same} of the {len(rule)} come from its own condition, {snapshot.condition}.")
    after = _gain_after(record, snapshot, of_round, frames)
    said = f"With the whole batch in the dataset its gain would be {number(after)} instead of {number(scores.gain)}"
    if scores.gain <= 0:
        return [*lines, f"{said}: the dataset had the like of it already."]
    covered = ": the picked frames cover most of what was new in it" if after < 0.5 * scores.gain else ""
    return [*lines, f"{said}{covered}."]


def _gain_after(
    record: CampaignRecord,
    snapshot: Snapshot,
    of_round: Sequence[FrameRecord],
    frames: dict[str, FrameRecord],
) -> float:
    """The gain of `snapshot` once the labels before its round and its round's whole batch are in the dataset."""
    before = [
        frame
        for frame in frames.values()
        if isinstance(frame.round, int) and frame.round < snapshot.round and frame.outcome == "accepted"
    ]
    known = [frame.request.atoms for frame in [*before, *of_round]]
    return record.gain(snapshot.atoms, known, snapshot.round)


def _outcome(frame: FrameRecord) -> list[str]:
    """What became of a structure that a label was asked for."""
    if frame.outcome == "waiting":
        return ["Label: not there yet."]
    if frame.outcome == "failed":
        why = "" if frame.failure is None else f" ({frame.failure.reason}: {frame.failure.message})"
        return [f"Label: failed, in quarantine{why}.", f"Kept in {frame.folder}"]
    assert frame.label is not None
    label = read_label(frame.label)
    lines = [f"Label: accepted, energy {label.energy:.6f} eV."]
    if math.isfinite(frame.force_rmse):
        lines.append(
            f"The committee's force error on it, before training on it, was {milli(frame.force_rmse)} meV/Å (RMSE)."
        )
    return [*lines, f"Kept in {frame.label}"]


def _rank(values: Sequence[float], value: float) -> int:
    return 1 + sum(v > value for v in values)


def _parse(snapshot_id: str) -> tuple[int, str, int]:
    """Round, walker and step of r003-w02-000150; an empty walker where it does not read so."""
    head, _, step = snapshot_id.rpartition("-")
    stem, _, walker = head.partition("-")
    if stem[:1] == "r" and stem[1:].isascii() and stem[1:].isdigit() and walker and step.isascii() and step.isdigit():
        return int(stem[1:]), walker, int(step)
    return -1, "", -1


def _unknown(record: CampaignRecord, given: str, asked: list[str]) -> InputError:
    """The error for an id that names nothing: the nearest right one, and what ids look like here."""
    shards = {path.stem: path for path in record.paths.shards()}
    stems, root = list(shards), record.folder
    if not stems:
        legal = f"Legal here: {asked[0]} to {asked[-1]}." if asked else "This campaign has no frames yet."
        return InputError(f'{root}: no snapshot "{given}"{nearest(given, asked) or "."} {legal}')
    head = given.rpartition("-")[0]
    stem = nearest(head, stems).partition('"')[2].partition('"')[0] or stems[0]
    shard = read_exploration(shards[stem])
    ids = [s.id for s in shard.snapshots]
    held = f"{stem} holds {ids[0]} to {ids[-1]}, {len(ids)} frames" if ids else f"{stem} holds no frames"
    _, walker, step = _parse(given)
    hint = nearest(given, ids + asked)
    if walker and ids and given.startswith(f"{stem}-"):
        close = min(shard.snapshots, key=lambda s: abs(s.step - step)).id
        hint = f'; did you mean "{close}"?'
    return InputError(
        f'{root}: no snapshot "{given}"{hint or "."} {held}; '
        f"walkers' rounds here: {', '.join(stems) if len(stems) <= 12 else f'{stems[0]} to {stems[-1]}'}."
    )
