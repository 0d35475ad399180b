"""The page of a study: pictures, errors, ratios and times in one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tentpole.benchmarks.pages import embedded, page
from tentpole.benchmarks.sampling.config import SamplingConfig
from tentpole.benchmarks.sampling.figures import curves_png, origins_png, ratios_png
from tentpole.benchmarks.sampling.summary import StudyResults
from tentpole.benchmarks.sampling.tables import cut_short, errors_of, ratios_of, times_of_all
from tentpole.storage.atomic import atomic_write, write_json

TITLE = "Which way of making frames learns fastest"


def write_page(folder: Path, results: StudyResults, facts: Mapping[str, Any]) -> list[Path]:
    """Write index.html, its pictures and summary.json, the `facts` of `summarise`, into `folder`.

    Raises InputError where what draws is not installed.
    """
    pictures = {"curves.png": curves_png(results), "origins.png": origins_png(results)}
    if len(results.config.policies) > 1:
        pictures["ratios.png"] = ratios_png(results)
    for name, picture in pictures.items():
        atomic_write(folder / name, picture)
    write_json(folder / "summary.json", dict(facts))
    parts = [(name, group) for name in facts["errors"] for group in facts["errors"][name]]
    html = page(
        TITLE,
        BODY,
        pictures={name.removesuffix(".png"): embedded(picture) for name, picture in pictures.items()},
        words=in_words(results),
        warning=cut_short(facts),
        heading=["policy", "driven", "kept"],
        policies=[[name, *_policy_words(results, name)] for name in results.config.policies],
        errors=[errors_of(facts, *part) for part in parts],
        ratios=[ratios_of(facts, *part) for part in parts],
        times=times_of_all(facts),
        baseline=facts["baseline"],
    )
    atomic_write(folder / "index.html", html.encode())
    return [folder / name for name in ("index.html", "summary.json", *pictures)]


def in_words(results: StudyResults) -> str:
    """What was studied, in two sentences."""
    config = results.config
    conditions = {c for joined in results.conditions.values() for c in joined}
    driver = "the teacher" if config.driver == "teacher" else config.driver
    return (
        f"Teacher {_stem(config.teacher)}, driven by {_stem(driver)}: {config.explore.steps} MD steps under each of "
        f"{len(conditions)} conditions that frames were taken from, a candidate every {config.explore.snapshot_every}. "
        f"Every policy has the same MD steps, the same numbers of labels ({', '.join(map(str, config.sizes))}) and the "
        f"same training ({config.members} models {_start(config)} on each set"
        f"{', to the plateau' if config.plateau else ''}); errors are means over the models, curves means over "
        f"{len(config.draws)} draws."
    )


def _start(config: SamplingConfig) -> str:
    if config.pretraining is None:
        return "from scratch"
    return f"that {_stem(config.pretraining.reference)} has pretrained with {config.pretraining.frames} frames"


def _stem(name: str) -> str:
    return Path(name).stem if name.endswith(".toml") else name


def _policy_words(results: StudyResults, name: str) -> list[str]:
    policy = results.config.policies[name]
    driven = "plain MD" if policy.ratio == 0 else f"biased MD ({policy.entropy}, ratio {policy.ratio:g})"
    settings = ", ".join(f"{key} = {value}" for key, value in policy.settings.items())
    kept = policy.rule + (f" ({settings})" if settings else "") + (f", {policy.mode}" if policy.mode else "")
    return [driven, kept + (", an equal share under each condition" if policy.even else "")]


BODY = """<p>{{ words }}</p>
{% if warning %}<p><strong>{{ warning }}</strong></p>{% endif %}
{% macro show(header, lines) %}<div class="wide"><table><tr>{% for cell in header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for line in lines %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</table></div>{% endmacro %}
{{ show(heading, policies) }}
<h2>Learning curves</h2>
<img alt="learning curves of every policy on every test set" src="{{ pictures.curves }}">
<p class="note">Means and ranges over draws.</p>
{% if pictures.ratios %}<h2>Ratios to {{ baseline }}</h2>
<img alt="error of every policy over that of the baseline" src="{{ pictures.ratios }}">
{% for title, header, lines in ratios %}<h3>{{ title }}</h3>{{ show(header, lines) }}{% endfor %}
<p class="note">Geometric means over draws; in brackets the middle 95 % of a bootstrap over draws and test frames. With
two or three draws it is too narrow, with one it counts the frames alone.</p>{% endif %}
<h2>Errors</h2>
{% for title, header, lines in errors %}<h3>{{ title }}</h3>{{ show(header, lines) }}{% endfor %}
<h2>Where the frames come from</h2>
<img alt="conditions under which each policy's frames were taken" src="{{ pictures.origins }}">
<h2>Times</h2>
{{ show(times[1], times[2]) }}
<p class="note">Per draw, all sizes together, on the machine that computed them, whatever else it did. MD that
policies share is counted for each; a label that another policy had computed takes no time here.</p>
"""
