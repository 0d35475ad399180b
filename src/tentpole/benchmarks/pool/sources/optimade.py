"""Any OPTIMADE service: structures, and the numbers that the service offers beside them."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ase import Atoms

from tentpole.benchmarks.pool.sources.cache import PageCache
from tentpole.benchmarks.pool.sources.patience import PATIENT, Patience, get_page, session
from tentpole.benchmarks.pool.sources.query import Progress, Query, silent
from tentpole.benchmarks.pool.table import Pool, build
from tentpole.errors import InputError

# Base address, and the provider's own fields that hold what a pool wants.
OPTIMADE_SERVICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "oqmd": ("https://oqmd.org/optimade/v1", ("_oqmd_delta_e", "_oqmd_band_gap", "_oqmd_stability")),
    "alexandria": (
        "https://alexandria.icams.rub.de/pbe/v1",
        ("_alexandria_formation_energy_per_atom", "_alexandria_band_gap", "_alexandria_hull_distance"),
    ),
}
NAMES = {
    "_alexandria_formation_energy_per_atom": "formation_energy_per_atom",
    "_alexandria_band_gap": "band_gap",
    "_alexandria_hull_distance": "energy_above_hull",
}
FIELDS = (
    "chemical_formula_reduced",
    "nsites",
    "lattice_vectors",
    "cartesian_site_positions",
    "species",
    "species_at_sites",
)


def fetch_optimade(
    query: Query,
    cache: PageCache,
    service: str,
    *,
    fields: tuple[str, ...] = (),
    page: int = 100,
    patience: Patience = PATIENT,
    on_progress: Progress = silent,
) -> Pool:
    """The first `query.limit` structures of `service`: a name of OPTIMADE_SERVICES, or a base address.

    `fields` are provider fields to take as columns besides the known ones. Pages follow `links.next` (a
    text or an object with `href`), always at the address asked. Raises InputError, ServiceError.
    """
    base, known = OPTIMADE_SERVICES.get(service, (service, ()))
    if not base.startswith(("http://", "https://")):
        raise InputError(
            f'"{service}" is no OPTIMADE service. Legal: {", ".join(OPTIMADE_SERVICES)}, or an address '
            "such as https://example.org/optimade/v1."
        )
    wanted = " AND ".join(f'elements HAS "{e}"' for e in query.elements)
    if query.exact:
        wanted += f" AND nelements={len(query.elements)}"
    own = (*known, *fields)
    http = session(patience)
    url = f"{base.rstrip('/')}/structures"
    label = f"OPTIMADE {service}"
    parameters: dict[str, Any] = {
        "filter": wanted,
        "page_limit": min(page, query.limit),
        "response_fields": ",".join((*FIELDS, *own)),
    }
    rows: dict[str, dict[str, Any]] = {}
    dates: list[str] = []
    version = ""
    while len(rows) < query.limit:
        answer, date = cache.page(
            {"service": "optimade", "url": url, **parameters},
            partial(get_page, http, url, parameters, label, patience, lambda row: str(row["id"]) in rows),
        )
        fresh = {str(row["id"]): row["attributes"] for row in answer["data"] if str(row["id"]) not in rows}
        rows.update(fresh)
        dates += [date] * len(fresh)
        meta = answer.get("meta") or {}
        version = str(meta.get("api_version", version))
        total = min(query.limit, int(meta.get("data_available") or len(rows)))
        on_progress(label, min(len(rows), query.limit), total)
        following = (answer.get("links") or {}).get("next")
        link = following.get("href") if isinstance(following, dict) else following
        if not link or not answer["data"]:
            break
        parameters = dict(parse_qsl(urlsplit(link).query))
    names, kept = list(rows)[: query.limit], list(rows.values())[: query.limit]
    n = len(kept)
    columns: dict[str, list[Any]] = {
        "id": names,
        "formula": [row.get("chemical_formula_reduced") for row in kept],
        "nsites": [row.get("nsites") for row in kept],
    }
    columns |= {NAMES.get(f, f): [row.get(f) for row in kept] for f in own}
    provenance = f"optimade:{service}"
    columns |= {"database": [provenance] * n, "version": [version] * n, "date": dates[:n], "query": [str(query)] * n}
    return build(columns, [structure_from_attributes(row) for row in kept])


def structure_from_attributes(row: dict[str, Any]) -> Atoms | None:
    """Atoms of an OPTIMADE structure; None where a site is partly occupied or positions are missing."""
    species = {s["name"]: s for s in row.get("species") or ()}
    names, positions, cell = (
        row.get("species_at_sites"),
        row.get("cartesian_site_positions"),
        row.get("lattice_vectors"),
    )
    if not names or not positions or not cell or any(v is None for vector in cell for v in vector):
        return None
    symbols = []
    for name in names:
        made_of = species.get(name, {"chemical_symbols": [name]})["chemical_symbols"]
        if len(made_of) != 1 or made_of[0] in ("X", "vacancy"):
            return None
        symbols.append(made_of[0])
    return Atoms(symbols, positions=positions, cell=cell, pbc=True)
