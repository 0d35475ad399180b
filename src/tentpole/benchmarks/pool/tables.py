"""Results as CSV, Markdown and sentences."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, fields

from tentpole.benchmarks.pages import markdown_lines
from tentpole.benchmarks.pool.benchmark import Measurement
from tentpole.benchmarks.pool.features import LEAKS
from tentpole.benchmarks.pool.files import harmless
from tentpole.benchmarks.pool.runner import Results
from tentpole.benchmarks.pool.statistics import BASELINE, Comparison, compare

UNITS = {
    "formation_energy_per_atom": "eV/atom",
    "energy_per_atom": "eV/atom",
    "energy_above_hull": "eV/atom",
    "band_gap": "eV",
}


def comparisons(results: Results, quantity: str = "mae") -> list[Comparison]:
    """The statistics of `results`; `quantity` "elsewhere_mae" judges the errors on the other pool."""
    r2 = "elsewhere_r2" if quantity == "elsewhere_mae" else "r2"
    return compare(results.curves("labels"), results.curves(quantity), results.curves(r2))


def curves_csv(results: Results) -> str:
    """Every measurement, one line each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f.name for f in fields(Measurement)]
    writer.writerow(names)
    writer.writerows([harmless(getattr(m, name)) for name in names] for m in results.measurements)
    return out.getvalue()


def comparison_csv(rows: Sequence[Comparison]) -> str:
    """Every field of the statistics, one line per rule."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*asdict(rows[0]), "verdict"])
    writer.writerows([*map(harmless, asdict(row).values()), row.verdict] for row in rows)
    return out.getvalue()


HEADER = (
    "rule",
    "labels",
    "MAE ± sd",
    "R²",
    "area",
    "difference to random [95 %]",
    "d_z [95 %]",
    "p paired",
    "p unpaired",
    "p Wilcoxon",
    "p Holm",
    "labels for random's error",
    "verdict",
)


def comparison_rows(rows: Sequence[Comparison]) -> list[list[str]]:
    """The table's cells as text, in the order of HEADER."""
    table = []
    for c in rows:
        line = [c.rule, f"{c.labels:.0f}", f"{c.final_mean:.4f} ± {c.final_sd:.4f}", f"{c.r2_mean:.3f}"]
        line.append(f"{c.aulc:.4f}")
        if c.rule == BASELINE:
            line += ["–"] * 6 + [f"{c.labels:.0f}"]
        else:
            share = 100 / (c.final_mean - c.difference)
            line.append(f"{c.difference:+.4f} [{c.low:+.4f}, {c.high:+.4f}] ({c.difference * share:+.1f} %)")
            line.append(f"{c.effect:+.2f} [{c.effect_low:+.2f}, {c.effect_high:+.2f}]")
            line += [probability(p) for p in (c.p_paired, c.p_unpaired, c.p_wilcoxon, c.p_holm)]
            never = math.isnan(c.labels_needed)
            line.append("not reached" if never else f"{c.labels_needed:.0f} ({100 * c.saved:+.0f} % saved)")
        table.append([*line, c.verdict])
    return table


def markdown(rows: Sequence[Comparison]) -> str:
    """The table as Markdown."""
    return markdown_lines([HEADER, *comparison_rows(rows)])


def terminal(rows: Sequence[Comparison]) -> str:
    """What decides, in at most 80 columns; the whole table is in the report's files."""
    lines = [("rule", "labels", "MAE ± sd", "to random", "p Holm", "as good at", "verdict")]
    for c in rows:
        error = f"{c.final_mean:.4f} ± {c.final_sd:.4f}"
        if c.rule == BASELINE:
            lines.append((c.rule, f"{c.labels:.0f}", error, "", "", "", ""))
            continue
        share = f"{100 * c.difference / (c.final_mean - c.difference):+.1f} %"
        needed = "never" if math.isnan(c.labels_needed) else f"{c.labels_needed:.0f}"
        verdict = {"better than random": "better", "worse than random": "worse"}.get(c.verdict, "as random")
        lines.append((c.rule[:15], f"{c.labels:.0f}", error[:21], share, probability(c.p_holm), needed, verdict))
    first, *others, last = (max(map(len, column)) for column in zip(*lines, strict=True))
    form = "  ".join([f"{{:<{first}}}", *(f"{{:>{width}}}" for width in others), f"{{:<{last}}}"])
    return "\n".join(form.format(*line).rstrip() for line in lines)


def probability(p: float) -> str:
    """0.0312, or "< 0.0001"."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def relation(p: float) -> str:
    """As `probability`, with its sign: "= 0.0312", "< 0.0001"."""
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"


def sentences(results: Results, rows: Sequence[Comparison]) -> list[str]:
    """Three sentences: what was compared, what differs from random, and what that means in labels."""
    base = rows[0]
    unit = UNITS.get(results.settings.target, "")
    better = [c for c in rows if c.verdict == "better than random"]
    worse = [c for c in rows if c.verdict == "worse than random"]
    first = (
        f"{results.settings.title}: with {base.labels:.0f} labels random choice reaches an error of "
        f"{base.final_mean:.4f} ± {base.final_sd:.4f} {unit} (R² {base.r2_mean:.2f}) over {base.seeds} seeds, "
        f"{results.about['rows']} rows and {len(results.about['names'])} descriptors ({results.settings.features})."
    )

    def named(pairs: Sequence[Comparison]) -> str:
        each = (f"{c.rule} ({100 * c.difference / base.final_mean:+.1f} %, p {relation(c.p_holm)})" for c in pairs)
        return ", ".join(each)

    tried = len(rows) - 1
    if better or worse:
        parts = ([f"better than random: {named(better)}"] if better else []) + (
            [f"worse: {named(worse)}"] if worse else []
        )
        rest = tried - len(better) - len(worse)
        tail = f"; the other {rest} cannot be told from random" if rest else ""
        second = f"After Holm's correction over {tried} rules, {'; '.join(parts)}{tail}."
    else:
        second = f"After Holm's correction none of the {tried} rules can be told from random at the 5 % level."
    if better:
        best = min(better, key=lambda c: c.labels_needed)
        third = (
            f"The mean curve of {best.rule} meets random's final error at {best.labels_needed:.0f} labels, "
            f"{100 * best.saved:.0f} % fewer."
        )
    else:
        third = "So no saving of labels is claimed for this pool."
    return [first, second, third]


def what_features(results: Results) -> str:
    """Which descriptors were used, whether they contain the target, and how the other choice differs."""
    chosen, target = results.settings.features, results.settings.target
    contained, leaking = results.about["contain_target"], LEAKS.get(target, ())
    if contained:
        return (
            f"Descriptors: {chosen}. These contain the target, or the target follows from them: "
            f"{', '.join(contained)}. Errors are what a model reads off, not what it predicts for a material that "
            "was never calculated; the leak-free set leaves them out."
        )
    text = f"Descriptors: {chosen}. None is known to contain the target {target}. "
    if "paper" in chosen:
        text += f"The table lacks those of the study that do: {', '.join(leaking) or 'there are none'}. "
    elif "leak-free" in chosen and leaking:
        text += f"The study's set (paper) holds besides, where the table has them: {', '.join(leaking)}. "
    calculated = [n for n in results.about["names"] if n in ("band_gap", "is_metal", "density", "volume_per_atom")]
    if calculated:
        text += f"From the same calculation as the target, without determining it: {', '.join(calculated)}."
    return text.strip()
