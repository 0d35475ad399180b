"""The report: learning curves as PNG, tables as CSV and Markdown, and one self-contained HTML page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.pages import embedded, markdown_lines, need, page
from tentpole.benchmarks.pool import tables
from tentpole.benchmarks.pool.runner import Results, load
from tentpole.storage.atomic import atomic_write

COLOURS = {
    "random": "#555555",
    "uncertainty": "#c1432e",
    "diversity": "#2e7bc1",
    "hybrid": "#8a4fbf",
    "logdet": "#2f9e6e",
    "two_key": "#d08a1d",
    "adaptive": "#0b1f33",
}


def write_report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write index.html and summary.md, and per benchmark curves.csv, table.csv, table.md, curves.png, into `out`.

    A folder's subfolder `reverse` (the other way of a cross-database validation) is taken along. Returns the
    files written. Raises InputError for a folder without a benchmark or fewer than two seeds.
    """
    wanted = [f for folder in folders for f in (folder, folder / "reverse") if f == folder or f.exists()]
    sections, written = [], []
    for number, folder in enumerate(wanted):
        results = load(folder)
        home = out if len(wanted) == 1 else out / f"{number + 1:02d}-{slug(results)}"
        section, files = write_one(results, home)
        sections.append(section)
        written += files
    summary = overview(sections)
    html = page(TITLE, BODY, LOOK, sections=sections, summary=summary)
    for name, text in (("index.html", html), ("summary.md", markdown_lines(summary))):
        atomic_write(out / name, text.encode())
        written.append(out / name)
    return written


def write_one(results: Results, home: Path) -> tuple[dict[str, Any], list[Path]]:
    """The files of one benchmark, and what the page shows of it."""
    rows = tables.comparisons(results)
    files = {
        "curves.csv": tables.curves_csv(results).encode(),
        "table.csv": tables.comparison_csv(rows).encode(),
        "table.md": tables.markdown(rows).encode(),
        "curves.png": learning_curves(results),
    }
    elsewhere = None
    if results.about["rows_elsewhere"]:
        elsewhere = tables.comparisons(results, "elsewhere_mae")
        files["elsewhere.csv"] = tables.comparison_csv(elsewhere).encode()
        files["elsewhere.md"] = tables.markdown(elsewhere).encode()
    for name, content in files.items():
        atomic_write(home / name, content)
    section = {
        "title": results.settings.title,
        "target": results.settings.target,
        "model": results.settings.model,
        "features": tables.what_features(results),
        "feature_set": results.settings.features,
        "notes": [*results.about["notes"], *(f"suspicious: {s}" for s in results.about["suspicious"])],
        "sentences": tables.sentences(results, rows),
        "header": tables.HEADER,
        "rows": tables.comparison_rows(rows),
        "comparisons": rows,
        "figure": embedded(files["curves.png"]),
        "elsewhere": None if elsewhere is None else tables.comparison_rows(elsewhere),
        "rows_elsewhere": results.about["rows_elsewhere"],
    }
    return section, [home / name for name in files]


def slug(results: Results) -> str:
    """A folder's name for a benchmark: its title, target and descriptors, without what a name may not hold."""
    words = f"{results.settings.title}-{results.settings.target}-{results.settings.features}"
    return "".join(c if c.isalnum() else "-" for c in words).strip("-").lower()


def overview(sections: Sequence[dict[str, Any]]) -> list[list[str]]:
    """One line per benchmark: each rule's difference to random in per cent, * where the statistics allow it."""
    rules = list(dict.fromkeys(c.rule for s in sections for c in s["comparisons"][1:]))
    table = [["pool", "features", "random's MAE", *rules]]
    for s in sections:
        base = s["comparisons"][0]
        cells = {
            c.rule: f"{100 * c.difference / base.final_mean:+.1f} %{'*' if c.p_holm < 0.05 else ''}"
            for c in s["comparisons"][1:]
        }
        table.append([s["title"], s["feature_set"], f"{base.final_mean:.4f}", *(cells.get(r, "") for r in rules)])
    return table


def learning_curves(results: Results) -> bytes:
    """Mean MAE and R² against labels as PNG, with bands of ± one standard error over the seeds."""
    figure_class = need("matplotlib.figure").Figure
    across = [("mae", f"MAE / {tables.UNITS.get(results.settings.target, 'unit of the target')}"), ("r2", "R²")]
    if results.about["rows_elsewhere"]:
        across.append(("elsewhere_mae", "MAE on the other pool"))
    figure = figure_class(figsize=(5.2 * len(across), 4.2), dpi=130, layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(across)))
    labels = results.curves("labels")
    for panel, (quantity, title) in zip(panels, across, strict=True):
        for place, (rule, values) in enumerate(results.curves(quantity).items()):
            x, y = labels[rule].mean(axis=0), values.mean(axis=0)
            band = values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0 * y
            colour = COLOURS.get(rule, f"C{place}")
            style = {"lw": 2.4, "ls": "--"} if rule == "random" else {"lw": 1.6}
            panel.plot(x, y, color=colour, label=rule, marker="o", ms=3, **style)
            panel.fill_between(x, y - band, y + band, color=colour, alpha=0.12, lw=0)
        panel.set_xlabel("labels")
        panel.set_ylabel(title)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"{results.settings.title}, {results.settings.features} descriptors, {len(results.seeds)} seeds "
        "(band: ± standard error)",
        fontsize=10,
    )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


TITLE = "Which rule learns the pool with fewest labels"

LOOK = """
.rules td:is(:nth-child(6), :nth-child(7), :last-child) { white-space: normal }
.rules td:nth-child(6) { min-width: 9.5rem } .rules td:nth-child(7) { min-width: 6.5rem }
"""

BODY = """{% if sections|length > 1 %}
<p>Final error against random choice, in per cent; * marks p &lt; 0.05 in the paired t-test after Holm's
correction over the rules of that pool.</p>
<div class="wide"><table>
{% for line in summary %}<tr>{% for cell in line %}{% if loop.index0 == 0 or loop.first %}<th>{{ cell }}</th>
{% else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>{% endfor %}
</table></div>{% endif %}
{% for s in sections %}
<h2>{{ s.title }}: {{ s.target }}, {{ s.feature_set }} descriptors, {{ s.model }}</h2>
{% for sentence in s.sentences %}<p>{{ sentence }}</p>{% endfor %}
<img alt="learning curves" src="{{ s.figure }}">
<div class="wide"><table class="rules"><tr>{% for cell in s.header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for line in s.rows %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</table></div>
{% if s.elsewhere %}<h3>The same models on the other pool ({{ s.rows_elsewhere }} rows)</h3>
<div class="wide"><table class="rules"><tr>{% for cell in s.header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for line in s.elsewhere %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</table></div>{% endif %}
<p class="note">{{ s.features }}</p>
{% for note in s.notes %}<p class="note">{{ note }}</p>{% endfor %}
{% endfor %}
<p class="note">MAE and R² on 20 % of the pool that no rule may choose from. Area: mean MAE under the learning
curve. d_z: mean over standard deviation of the paired differences. Intervals: 95 % bootstrap over seeds. The
unpaired test ignores that all rules share splits and first labels; it is given for comparison with the
study (arXiv:2601.06916). Verdicts follow the paired test after Holm's correction. Seeds share one pool, so
the tests speak of this pool and this protocol.</p>
"""
