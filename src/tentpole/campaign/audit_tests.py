"""The tests on audit frames, and when a final look is worth its labels.

The claim, with x the mean squared force error of a frame, μ_c its mean over the frames that unbiased MD visits under
condition c and τ the target, is sqrt(mean over c of μ_c) ≤ τ and sqrt(μ_c) ≤ τ for every c, each with 95 % confidence,
for the committee in force. Where a condition has a target of its own, τ_c, its x counts (τ/τ_c)² times. It rests on
one final look: fresh audit frames of a committee that is not trained on them before they have judged. Look number j is
made at a share α_j of α (`spend`), so that looking again costs confidence.

A final look costs its frames, and looking later costs the labels until then, but needs fewer frames, since the error is
lower by then. With N labels so far, B a round, b the present RMSE and its fall ∝ N^(−s) by the audit frames of all
rounds, and n(b) the fewest frames whose bound can be expected within τ: it is made where there is an n(b) and waiting
saves nothing, n(b) ≤ B + n(b (1 + B/N)^(−s)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from tentpole.campaign.confidence import ALPHA, Bound, Look, expected_factor, joined, percent, rmse_bound, spend, window
from tentpole.campaign.evidence import Audits, Criteria, Evidence, Round, at_least, at_most
from tentpole.campaign.projection import Projection, project_labels
from tentpole.config.schema import AUDITS_PER_CONDITION
from tentpole.records import FloatArray

FORGET = 0.7
"""Weight of a round's audit frames against the next round's, where the present error is estimated."""

USUAL_FALL = 0.5
"""Exponent s of error ∝ labels^(−s) that is reckoned with before the rounds tell it; it counts as much as one audit
frame at e times more labels than another. s is taken to lie between 0 and `STEEPEST`."""
STEEPEST = 1.5

NEAR = 2.0
"""Times the target below which errors are near it."""

MOST = 0.6
"""Share of the labels so far that a final look may cost at most, where that is more than the fewest frames of one."""

CHANCE = 0.01
"""How often errors that go on falling as usual may be taken for errors that no longer do, at each look at them."""

USUAL_SPREAD = 0.7
"""Spread of ln x that is reckoned with before there are audit frames to tell it; it counts as much as 6 of them."""

ENOUGH = 16
"""Audit frames of a condition that tell its own spread: to 18 %."""


def audit_tests(history: Sequence[Round], criteria: Criteria) -> tuple[Evidence, ...]:
    """The tests of convergence: of the final look where the last round is one, else of the rounds before it."""
    explored = _relative(history[1:], criteria)
    looks = sum(r.final_look > 0 for r in history)
    if explored and explored[-1].final_look:
        held = explored[-1:]
        needed, number, which = _fewest(criteria), looks, f"final look {looks}"
    else:
        held = explored[-_span(explored, criteria) :] if explored else []
        needed, number, which = criteria.labels_needed, looks + 1, f"last {len(held)} rounds"
    tests = _tests(held, criteria, needed, spend(ALPHA, number), which)
    recent = explored[-criteria.span :]
    look = explored[-1] if explored and explored[-1].passed else None
    return (
        *tests,
        *_of_systems(held, criteria),
        _mishaps(recent, criteria),
        Evidence("final looks at fresh audit frames", float(looks), 1.0, look is not None and _hold(tests), "at least"),
    )


def passes(final: Round, before: Sequence[Round], criteria: Criteria) -> bool:
    """Whether every test holds in a final look that was made after the rounds `before`."""
    tests = audit_tests([*before, final], criteria)
    return _hold(tests[:-1])


def converged(history: Sequence[Round], criteria: Criteria) -> bool:
    """Whether the last round is a final look at the committee in force, and every test holds in it."""
    return bool(history) and history[-1].passed and passes(history[-1], history[:-1], criteria)


def final_look_size(history: Sequence[Round], criteria: Criteria) -> int | None:
    """Audit frames of a final look that is worth its labels after these rounds; None for a round as any other."""
    history = _relative(history, criteria)
    recent = _lately(history, criteria)
    if len(recent) < criteria.span or any(_held_against(r, criteria) for r in recent):
        return None
    if any(rms > target for rms, target in _others(recent, criteria) if target is not None):
        return None
    known = sum(r.labels for r in history)
    now, fall = _present_error(history, criteria.turns)
    size = _frames_needed(now, recent, history, criteria)
    if size is None or size > max(_least(criteria), MOST * known):
        return None
    if criteria.max_labels is not None and known + size > criteria.max_labels:
        return None
    later = _frames_needed(now * (1 + criteria.batch / known) ** -fall, recent, history, criteria)
    return size if later is None or size <= criteria.batch + later else None


def near_target(history: Sequence[Round], criteria: Criteria) -> bool:
    """Whether the newest committee's RMSE, by the audit frames of all rounds, is at most `NEAR` times the target."""
    rmse, _ = _present_error(_relative(history, criteria), criteria.turns)
    return rmse <= NEAR * criteria.force_error_eV_per_A


def _held_against(r: Round, criteria: Criteria) -> int:
    """Mishaps of unbiased MD that speak against the committee.

    That a structure falls apart does not, where the last frames before are labelled and the committee's force RMSE is
    within the target on each of them: then the reference's MD goes on as the committee's did.
    """
    right = bool(r.brinks) and all(math.sqrt(x) <= criteria.target_of(name) for name, x in r.brinks)
    return r.plain_unhealthy - r.parted if right else r.plain_unhealthy


def _mishaps(rounds: Sequence[Round], criteria: Criteria) -> Evidence:
    held = sum(_held_against(r, criteria) for r in rounds)
    shared = sum(r.plain_unhealthy for r in rounds) - held
    note = f"beside {shared} of structures that fell apart, the committee being within the target right before"
    return at_most("mishaps of unbiased MD", float(held) if rounds else math.nan, 0.0, note if shared else "")


def _present_error(history: Sequence[Round], turns: int = 1) -> tuple[float, float]:
    """RMSE of the newest committee and exponent s of its fall, by the audit frames of all rounds, newer ones heavier.

    Weighted regression of ln RMSE on ln labels; s is drawn to its usual value where few rounds tell it. NaN where
    no round has audit frames.
    """
    labels, logs, frames, known = list[float](), list[float](), list[float](), 0
    for r in history:
        if len(r.audits) and (r.audits.look.squares > 0).any():
            labels.append(math.log(known))
            logs.append(0.5 * math.log(float(r.audits.look.squares.mean())))
            frames.append(len(r.audits))
        known += r.labels
    if not logs:
        return math.nan, USUAL_FALL
    weights = np.array(frames) * FORGET ** (np.arange(len(frames))[::-1] // turns)
    x, y = np.array(labels) - math.log(known), np.array(logs)
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    spread, common = weights @ (x - mean_x) ** 2, weights @ ((x - mean_x) * (y - mean_y))
    fall = min(max(float((USUAL_FALL - common) / (1.0 + spread)), 0.0), STEEPEST)
    return math.exp(float(mean_y + fall * mean_x)), fall


def _frames_needed(rmse: float, recent: Sequence[Round], history: Sequence[Round], criteria: Criteria) -> int | None:
    """Fewest audit frames whose bounds, over all and under the worst condition, can be expected within the target."""
    bound = _bound(recent, criteria, 0.5)
    if bound.rmse is None or not math.isfinite(rmse):
        return None
    conditions = max(1, len(criteria.conditions))
    number = 1 + sum(r.final_look > 0 for r in history)
    spread, alpha = _spread(bound), spend(ALPHA, number)
    each = _under_each(recent, bound.rmse, spread)
    target = criteria.force_error_eV_per_A
    for n in range(_least(criteria), criteria.frames + 1, conditions):
        over_all = expected_factor(spread, n, alpha, conditions)
        under_one = (share * expected_factor(own, n // conditions, alpha) for share, own in each)
        if rmse * max(over_all, *under_one) <= target:
            return n
    return None


def _spread(bound: Bound) -> float:
    """Spread of ln x under a condition, drawn to the usual one where few frames tell it."""
    if bound.spread is None:
        return USUAL_SPREAD
    return math.sqrt((bound.spread**2 * bound.frames + USUAL_SPREAD**2 * 6) / (bound.frames + 6))


def _under_each(recent: Sequence[Round], rmse: float, spread: float) -> list[tuple[float, float]]:
    """Of each condition its RMSE over that over all, at least 1, and its spread of ln x.

    The former is drawn to 1 where the condition has few frames; the latter is the common one until it has `ENOUGH`, as
    after a look that failed: the next one fails too if it is as large and one condition's errors spread the widest.
    """
    look, each = joined([r.audits.look for r in recent]), [(1.0, spread)]
    names = set(look.conditions)
    for name in names if len(names) > 1 and rmse > 0 else ():
        squares = _part(look, name).squares
        share, n = math.sqrt(float(squares.mean())) / rmse, len(squares)
        known = n >= ENOUGH and bool((squares > 0).all())
        each.append((max(share, 1.0) ** (n / (n + 4)), float(np.log(squares).std(ddof=1)) if known else spread))
    return each


def projected(history: Sequence[Round], criteria: Criteria) -> Projection | None:
    """Labels still to come before a final look is likely to be passed; None before the third explored round."""
    labels, errors, total = [], [], 0
    history = _relative(history, criteria)
    for r in history:
        if r.audits and (r.audits.look.squares > 0).any():
            labels.append(total)
            errors.append(math.sqrt(float(r.audits.look.squares.mean())))
        total += r.labels
    if len(labels) < 3:
        return None
    spread = _spread(_bound(_lately(history, criteria), criteria, 0.5))
    alpha = spend(ALPHA, 1 + sum(r.final_look > 0 for r in history))
    factor = expected_factor(spread, _least(criteria), alpha, max(1, len(criteria.conditions)))
    return project_labels(labels, errors, criteria.force_error_eV_per_A / factor)


def stalled(history: Sequence[Round], criteria: Criteria, since: int = 0) -> bool:
    """Whether the audit frames of the last rounds show no lower error than those of as many before, above the target.

    Neither the RMSE nor that of a typical frame (geometric mean) fell by 1 %, and errors scatter too little from round
    to round for the usual fall to be hidden among them (`_no_fall_hidden`). The rounds compared are the last
    `stalled_rounds` and as many before, or more: a few rounds alone can rarely tell. None is from before `since`.
    """
    span = -(-criteria.stalled_rounds // criteria.turns) * criteria.turns  # the same conditions before and since
    first = max(1, since)
    known = np.cumsum([r.labels for r in history])[first - 1 : -1]
    explored = _relative(history[first:], criteria)
    half = len(explored) // 2 // criteria.turns * criteria.turns
    return any(
        _no_lower(explored[-2 * rounds : -rounds], explored[-rounds:], criteria)
        and _no_fall_hidden(explored[-2 * rounds :], known[-2 * rounds :], criteria.turns)
        for rounds in range(span, half + 1, criteria.turns)
    )


def _no_lower(earlier: Sequence[Round], later: Sequence[Round], criteria: Criteria) -> bool:
    before, since = (joined([r.audits.look for r in rounds]).squares for rounds in (earlier, later))
    if min(len(before), len(since)) < criteria.labels_needed or not (before > 0).all() or not (since > 0).all():
        return False
    rms = math.sqrt(float(since.mean() / before.mean()))
    typical = math.exp(0.5 * float(np.log(since).mean() - np.log(before).mean()))
    return min(rms, typical) > 0.99 and math.sqrt(float(since.mean())) > criteria.force_error_eV_per_A


def _no_fall_hidden(rounds: Sequence[Round], known: FloatArray, turns: int) -> bool:
    """Whether the later half of these rounds errs more than the usual fall would have it, beyond chance.

    known : labels before each. A round's frames are judged by one committee, and lie along few trajectories: each round
    counts as one value, ln of its RMSE less that of its turn, and the two halves are compared by Student's t at the
    level `CHANCE`.
    """
    told = [k for k, r in enumerate(rounds) if len(r.audits)]
    logs = np.array([0.5 * math.log(float(rounds[k].audits.look.squares.mean())) for k in told])
    turn, late = np.array(told) % turns, np.array(told) >= len(rounds) // 2
    for one in range(turns):
        logs[turn == one] -= logs[turn == one].mean()
    halves, free = (logs[~late], logs[late]), len(logs) - 2 - (len(set(turn.tolist())) - 1)
    if free < 1 or not min(map(len, halves)):
        return False
    scatter = sum(float(((part - part.mean()) ** 2).sum()) for part in halves) / free
    error = math.sqrt(scatter * sum(1 / len(part) for part in halves))
    labels = np.log(known[told])
    usual = USUAL_FALL * float(labels[late].mean() - labels[~late].mean())
    return float(halves[1].mean() - halves[0].mean()) + usual > float(stdtrit(free, 1 - CHANCE)) * error


def _relative(rounds: Sequence[Round], criteria: Criteria) -> Sequence[Round]:
    """The rounds with squared errors of audit frames as they count where conditions have targets of their own."""
    if not criteria.targets:
        return rounds
    weights = {name: (criteria.force_error_eV_per_A / target) ** 2 for name, target in criteria.targets.items()}
    relative = []
    for r in rounds:
        look = r.audits.look
        counted = look.squares * np.array([weights.get(name, 1.0) for name in look.conditions])
        relative.append(replace(r, audits=replace(r.audits, look=replace(look, squares=counted))))
    return relative


def _of_systems(rounds: Sequence[Round], criteria: Criteria) -> list[Evidence]:
    """What each system's own error is, beside its target: told, and judged by the conditions' tests."""
    look = joined([r.audits.look for r in rounds])
    evidence = []
    for system, conditions in criteria.systems.items():
        target = criteria.target_of(conditions[0])
        weight = (target / criteria.force_error_eV_per_A) ** 2
        squares = weight * look.squares[[name in conditions for name in look.conditions]]
        value = math.sqrt(float(squares.mean())) if len(squares) else None
        note = f"{len(squares)} audit frames; its target is {target:g} eV/Å"
        evidence.append(Evidence(f"force RMSE of system {system}, eV/Å", value, None, None, note))
    return evidence


def _lately(history: Sequence[Round], criteria: Criteria) -> Sequence[Round]:
    """The last `rounds` rounds, and more where these have no audit frame of some condition."""
    explored = history[1:]
    span = criteria.span
    while span < len(explored):
        seen = {c for r in explored[-span:] for c in r.audits.look.conditions}
        if seen.issuperset(criteria.conditions) and sum(len(r.audits) for r in explored[-span:]) > len(seen) + 1:
            break
        span += 1
    return explored[-span:]


def _fewest(criteria: Criteria) -> int:
    """Labelled audit frames that a final look must have: those asked for, less the share that may fail."""
    return math.ceil(_least(criteria) * (1 - criteria.failed))


def _least(criteria: Criteria) -> int:
    """Fewest audit frames of a final look."""
    return max(criteria.final_audits, AUDITS_PER_CONDITION * len(criteria.conditions))


def _span(explored: Sequence[Round], criteria: Criteria) -> int:
    """Rounds that hold the audit frames needed, no fewer than `rounds`, nor than show every condition."""
    return max(criteria.span, window([len(r.audits) for r in explored], criteria.labels_needed))


def _tests(rounds: Sequence[Round], criteria: Criteria, needed: int, alpha: float, which: str) -> tuple[Evidence, ...]:
    target = criteria.force_error_eV_per_A
    audits = [r.audits for r in rounds]
    frames, failed = sum(map(len, audits)), sum(a.failed for a in audits)
    squares = joined([a.look for a in audits]).squares
    off = int((np.sqrt(squares) > 3 * target).sum()) + failed
    asked = sum(r.asked for r in rounds)
    bound = _bound(rounds, criteria, alpha)
    level = f"upper {percent(alpha)} % confidence bound"
    relative = " (relative to each system's target)" if criteria.targets else ""
    return (
        at_least(f"audit frames judged, {which}", frames, needed),
        at_most(f"{level} of the force RMSE, eV/Å{relative}", _upper(bound), target, _rests(bound)),
        *_worst_condition(audits, criteria, alpha, level),
        _quantity("energy per atom, eV/atom", audits, lambda a: a.energy, criteria.energy_error_eV_per_atom, alpha),
        _quantity("stress, GPa", audits, lambda a: a.stress, criteria.stress_error_GPa, alpha),
        at_most(
            "share of audit frames off by more than three times the target or without a label",
            off / (frames + failed) if frames + failed else math.nan,
            criteria.outliers,
        ),
        at_most(
            "share of frames asked for that got no label",
            sum(r.failed for r in rounds) / asked if asked else math.nan,
            criteria.failed,
        ),
    )


def _hold(tests: Sequence[Evidence]) -> bool:
    """Whether every test that has a bound holds."""
    return all(test.holds for test in tests if test.bound is not None)


def _weights(criteria: Criteria, look: Look) -> dict[str, float] | None:
    """Every condition alike, also one that has no frame: of it nothing is known."""
    names = [*criteria.conditions, *(c for c in look.conditions if c not in criteria.conditions)]
    return dict.fromkeys(names, 1.0) or None


def _bound(rounds: Sequence[Round], criteria: Criteria, alpha: float) -> Bound:
    look = joined([r.audits.look for r in rounds])
    if not len(look):
        return Bound(None, None, alpha, 0, 0, 0, why_not="there is no audit frame")
    return rmse_bound(look, alpha, _weights(criteria, look))


def _upper(bound: Bound) -> float:
    return math.nan if bound.upper is None else bound.upper


def _rests(bound: Bound) -> str:
    if bound.upper is None:
        return bound.why_not
    few = "" if bound.clustered else ", too few walkers to speak of others"
    return f"{bound.frames} frames, {bound.walkers} walkers, {bound.conditions} conditions{few}"


def _worst_condition(audits: Sequence[Audits], criteria: Criteria, alpha: float, level: str) -> list[Evidence]:
    """The same bound under each condition, the highest of them, where there are several."""
    look = joined([a.look for a in audits])
    names = list(_weights(criteria, look) or {})
    if len(names) < 2:
        return []
    bounds = {name: _upper(rmse_bound(_part(look, name), alpha)) for name in names}
    worst = max(bounds, key=lambda name: math.inf if math.isnan(bounds[name]) else bounds[name])
    what = f"the same for the worst of {len(names)} conditions, {level}, eV/Å"
    return [at_most(what, bounds[worst], criteria.force_error_eV_per_A, worst)]


def _part(look: Look, condition: str) -> Look:
    chosen = [i for i, name in enumerate(look.conditions) if name == condition]
    return Look(look.squares[chosen], tuple(look.conditions[i] for i in chosen), tuple(look.walkers[i] for i in chosen))


def _quantity(
    what: str, audits: Sequence[Audits], of: Callable[[Audits], FloatArray], target: float | None, alpha: float
) -> Evidence:
    """Bound on the RMSE of the energy or stress; its estimate alone where no target is stated."""
    looks = []
    for a in audits:
        values = of(a)
        kept = [i for i, value in enumerate(values) if math.isfinite(value)]
        names = (tuple(a.look.conditions[i] for i in kept), tuple(a.look.walkers[i] for i in kept))
        looks.append(Look(np.asarray(values)[kept] ** 2, *names))
    look = joined(looks)
    bound = rmse_bound(look, alpha) if len(look) else Bound(None, None, alpha, 0, 0, 0)
    if target is None:
        return Evidence(f"RMSE of the {what}", bound.rmse, None, None, "no target stated")
    return at_most(f"upper {percent(alpha)} % confidence bound of the {what}", _upper(bound), target, _rests(bound))


def _others(rounds: Sequence[Round], criteria: Criteria) -> list[tuple[float, float | None]]:
    """RMSE of energy and stress on the audit frames of these rounds, each with its target."""
    pairs = []
    for of, target in (
        ([r.audits.energy for r in rounds], criteria.energy_error_eV_per_atom),
        ([r.audits.stress for r in rounds], criteria.stress_error_GPa),
    ):
        values = np.concatenate(of)
        values = values[np.isfinite(values)]
        pairs.append((math.sqrt(float((values**2).mean())) if len(values) else math.inf, target))
    return pairs
