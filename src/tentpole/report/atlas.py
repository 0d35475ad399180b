"""A map of all frames: principal components of their fingerprints, with σ, gain and error; flat, and to walk in."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.campaign.record import CampaignRecord
from tentpole.records import FloatArray
from tentpole.report import style
from tentpole.report.style import Picture

MOST = 600
"""Candidates that were not chosen and are shown all the same; of more, some evenly over rounds."""
KINDS = ("candidate", "chosen by the rule", "audit", "initial", "validation")


@dataclass(frozen=True, slots=True)
class MappedFrame:
    """One frame on the map. sigma in eV/Å, error : force RMSE in eV/Å; NaN where there is none."""

    id: str
    atoms: Atoms
    kind: str
    round: int
    sigma: float
    gain: float
    error: float


@dataclass(frozen=True, slots=True)
class Atlas:
    """The frames and where they lie: (n, 2) principal components, and the share of the variance that those hold."""

    places: tuple[MappedFrame, ...]
    xy: FloatArray
    share: float


def atlas(record: CampaignRecord) -> Atlas | None:
    """The map of a campaign's frames; None for fewer than three."""
    places = _places(record)
    if len(places) < 3:
        return None
    features = record.features([place.atoms for place in places])
    centred = features - features.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    for axis in axes[:2]:
        axis *= np.sign(axis[np.argmax(np.abs(axis))])
    whole = float((singular**2).sum())
    xy: FloatArray = centred @ axes[:2].T
    return Atlas(tuple(places), xy, float((singular[:2] ** 2).sum()) / whole if whole else 1.0)


def _places(record: CampaignRecord) -> list[MappedFrame]:
    asked = []
    for frame in record.frames:
        request, first = frame.request, frame.round == 0
        kind = "audit" if request.audit else "chosen by the rule"
        kind = "initial" if first else "validation" if isinstance(frame.round, str) else kind
        number = 0 if isinstance(frame.round, str) else frame.round
        scores = request.scores
        sigma, gain = scores.get("force_std", math.nan), scores.get("gain", math.nan)
        asked.append(MappedFrame(request.id, request.atoms, kind, number, sigma, gain, frame.force_rmse))
    known = {place.id for place in asked}
    others = [
        MappedFrame(snapshot.id, snapshot.atoms, "candidate", int(one.name), scores.force_std, scores.gain, math.nan)
        for one in record.rounds
        if one.name
        for shard in record.explorations(int(one.name)).values()
        for snapshot, scores in zip(shard.snapshots, shard.scores, strict=True)
        if not scores.failed and scores.finite and snapshot.id not in known
    ]
    return others[:: max(1, -(-len(others) // MOST))] + asked


def flat(the_map: Atlas) -> Picture:
    """The map as a figure: candidates by their σ, chosen frames on top."""
    drawing, axes = style.figure(7.2, 4.4)
    kinds = np.array([place.kind for place in the_map.places])
    sigma = 1000 * np.array([place.sigma for place in the_map.places])
    scored = np.isfinite(sigma) & (sigma > 0)
    left = scored & (kinds == "candidate")
    x, y = the_map.xy.T
    if left.any():
        norm = style.need("matplotlib.colors").LogNorm(*_ends(sigma[scored]))
        points = axes.scatter(x[left], y[left], c=sigma[left], s=13, cmap="cividis_r", norm=norm, lw=0)
        bar = drawing.colorbar(points, ax=axes, pad=0.02)
        bar.set_label(r"$\sigma_F$ of candidates (meV/Å)", fontsize=10, color=style.INK)
        style.plain_log(bar.ax.yaxis)
        bar.outline.set_visible(False)
    marks = {
        "initial": ("+", style.FAINT, 34),
        "validation": ("x", style.GREEN, 22),
        "chosen by the rule": ("o", style.VERMILLION, 26),
        "audit": ("s", style.BLUE, 24),
    }
    for kind, (marker, colour, size) in marks.items():
        here = kinds == kind
        if here.any():
            thin = {"color": colour} if marker in "+x" else {"facecolors": "none", "edgecolors": colour}
            axes.scatter(x[here], y[here], marker=marker, s=size, lw=1.3, label=kind, **thin)
        if left.any() and (inside := here & scored).any() and marker not in "+x":
            axes.scatter(x[inside], y[inside], c=sigma[inside], s=9, cmap="cividis_r", norm=norm, lw=0)
    axes.set(xticks=[], yticks=[])
    style.name_axes(axes, "first principal component of the fingerprints", "second")
    drawing.legend(
        loc="outside lower center", ncols=4, frameon=False, fontsize=9.5, labelcolor=style.INK, columnspacing=1.2
    )
    caption = (
        "Each point is a frame; frames with like surroundings of their atoms lie close together. The two directions "
        f"hold {100 * the_map.share:.0f} % of what the fingerprints differ by. Chosen frames should lie where "
        "candidates are dark (large disagreement), and not on top of each other; regions without a mark are regions "
        "that nobody asked about."
    )
    counts = "; ".join(f"{int((kinds == kind).sum())} {kind}" for kind in KINDS if (kinds == kind).any())
    return Picture("map", "Map of the frames", f"Map of frames by fingerprint: {counts}", caption, style.png(drawing))


def _ends(values: FloatArray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (0.9 * low, 1.1 * high)


def viewer() -> Path | None:
    """The viewer of the chemiscope package, one file of JavaScript; None where that is not installed."""
    spec = importlib.util.find_spec("chemiscope")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        file = Path(place) / "sphinx" / "static" / "chemiscope.min.js"
        if file.is_file():
            return file
    return None


def page(the_map: Atlas, name: str, script: str) -> str:
    """The map as a page of its own, which needs nothing beside it: chemiscope's viewer with the frames in it."""
    data = json.dumps(dataset(the_map, name), allow_nan=False).replace("<", "\\u003c")
    safe = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    head = name.replace("&", "&amp;").replace("<", "&lt;")
    return _PAGE.replace("@NAME@", head).replace("@DATA@", data).replace("@SCRIPT@", safe)


def dataset(the_map: Atlas, name: str) -> dict[str, Any]:
    """The frames as chemiscope reads them: structures, properties with units, and what is shown first."""
    places = the_map.places
    columns: dict[str, tuple[Sequence[Any], str, str]] = {
        "fingerprint PC 1": (the_map.xy[:, 0].tolist(), "", "first principal component of the mean fingerprints"),
        "fingerprint PC 2": (the_map.xy[:, 1].tolist(), "", "second principal component"),
        "sigma_F": ([1000 * p.sigma for p in places], "meV/Å", "disagreement when it was chosen, or not"),
        "gain": ([p.gain for p in places], "", "log-det gain when it was chosen, or not"),
        "error found": ([1000 * p.error for p in places], "meV/Å", "force RMSE before training on it"),
        "round": ([p.round for p in places], "", "0: the initial structures and the validation set"),
        "kind": ([p.kind for p in places], "", "why it is on the map"),
        "frame": ([p.id for p in places], "", "its id: tentpole explain FOLDER ID"),
    }
    properties = {
        key: {"target": "structure", "values": _finite(values), "description": description}
        | ({"units": units} if units else {})
        for key, (values, units, description) in columns.items()
    }
    return {
        "meta": {"name": name, "description": "frames of a Tentpole campaign"},
        "structures": [_structure(place.atoms) for place in places],
        "properties": properties,
        "settings": {
            "map": {
                "x": {"property": "fingerprint PC 1"},
                "y": {"property": "fingerprint PC 2"},
                "color": {"property": "sigma_F", "scale": "log"},
                "symbol": "kind",
            },
            "structure": [{"unitCell": True, "bonds": not any(place.atoms.pbc.any() for place in places)}],
        },
    }


def _finite(values: Sequence[Any]) -> list[Any]:
    """Numbers that chemiscope can colour by: it takes no gaps, and 0 stands for none."""
    return [0.0 if isinstance(v, float) and not math.isfinite(v) else v for v in values]


def _structure(atoms: Atoms) -> dict[str, Any]:
    x, y, z = (np.round(atoms.positions[:, k], 4).tolist() for k in range(3))
    structure: dict[str, Any] = {"size": len(atoms), "names": atoms.get_chemical_symbols(), "x": x, "y": y, "z": z}
    if atoms.pbc.any():
        structure["cell"] = np.round(atoms.cell.array, 4).ravel().tolist()
    return structure


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@NAME@: map of frames – Tentpole</title>
<style>
html, body { margin: 0; height: 100%; font: 15px/1.4 system-ui, sans-serif; color: #1d2733; background: #fff }
body { display: flex; flex-direction: column }
header { padding: .6rem 1rem; border-bottom: 1px solid #dde3e8 } h1 { font-size: 1.1rem; margin: 0 }
p { margin: .1rem 0 0; color: #55626f; font-size: .9rem }
main { flex: 1; display: grid; grid-template-columns: 3fr 2fr; min-height: 0 }
main > div { position: relative; min-width: 0; min-height: 0 }
#right { display: flex; flex-direction: column; border-left: 1px solid #dde3e8 }
#structure { flex: 1; min-height: 16rem; position: relative }
#map { height: 100% } #meta { display: none } #info { max-height: 45%; overflow: auto }
@media (max-width: 44rem) {
  main { grid-template-columns: 1fr; grid-template-rows: 60vh 70vh; overflow: auto }
  #right { border: 0 }
}
</style>
</head>
<body>
<header><h1>@NAME@: map of frames</h1>
<p>Principal components of the fingerprints; click a point to see its structure, ≡ chooses what is on the axes, the
colours and the symbols. 0 in “error found”, “sigma_F” or “gain”: not known of that frame.</p></header>
<main><div><div id="meta"></div><div id="map"></div></div>
<div id="right"><div id="structure"></div><div id="info"></div></div></main>
<script>@SCRIPT@</script>
<script>
const warnings = new Chemiscope.Warnings();
warnings.addHandler((message) => console.warn(message));
const dataset = @DATA@;
const places = { map: "map", info: "info", meta: "meta", structure: "structure" };
Chemiscope.DefaultVisualizer.load(places, dataset, warnings);
</script>
</body>
</html>
"""
