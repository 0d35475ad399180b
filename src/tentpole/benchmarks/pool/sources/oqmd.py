"""OQMD, through its REST service (formationenergy)."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ase import Atoms

from tentpole.benchmarks.pool.sources.cache import PageCache
from tentpole.benchmarks.pool.sources.patience import PATIENT, Patience, get_page, session
from tentpole.benchmarks.pool.sources.query import Progress, Query, silent
from tentpole.benchmarks.pool.table import Pool, build

ENDPOINT = "http://oqmd.org/oqmdapi"
SERVICE = "OQMD"
FIELDS = "name,entry_id,delta_e,band_gap,stability,natoms,volume,spacegroup,prototype,unit_cell,sites"


def fetch_oqmd(
    query: Query,
    cache: PageCache,
    *,
    endpoint: str = ENDPOINT,
    page: int = 100,
    patience: Patience = PATIENT,
    on_progress: Progress = silent,
) -> Pool:
    """Formation energies with structures: the first `query.limit` in the service's own order.

    Pages follow `links.next`, each cached. An entry that comes twice is taken once, a page that comes twice
    is asked for again. Raises ServiceError, or InputError where the query is refused.
    """
    wanted = f"element_set={','.join(query.elements)}"
    if query.exact:
        wanted += f" AND ntypes={len(query.elements)}"
    http = session(patience)
    url = f"{endpoint.rstrip('/')}/formationenergy"
    rows: dict[Any, dict[str, Any]] = {}
    dates: list[str] = []
    offset, version = 0, ""
    while len(rows) < query.limit:
        size = min(page, query.limit)
        parameters = {"fields": FIELDS, "filter": wanted, "limit": size, "offset": offset, "format": "json"}
        answer, date = cache.page(
            {"service": "oqmd", "endpoint": endpoint, **parameters},
            partial(get_page, http, url, parameters, SERVICE, patience, lambda row: row["entry_id"] in rows),
        )
        fresh = {row["entry_id"]: row for row in answer["data"] if row["entry_id"] not in rows}
        rows.update(fresh)
        dates += [date] * len(fresh)
        version = str((answer.get("meta") or {}).get("api_version", version))
        total = min(query.limit, int((answer.get("meta") or {}).get("data_available") or len(rows)))
        on_progress(SERVICE, min(len(rows), query.limit), total)
        following = (answer.get("links") or {}).get("next")
        if not following or not answer["data"]:
            break
        offset = _offset(following, offset + size)
    kept = list(rows.values())[: query.limit]
    n = len(kept)
    columns: dict[str, list[Any]] = {
        "id": [f"oqmd-{row['entry_id']}" for row in kept],
        "formula": [row.get("name") for row in kept],
        "formation_energy_per_atom": [row.get("delta_e") for row in kept],
        "band_gap": [row.get("band_gap") for row in kept],
        "energy_above_hull": [row.get("stability") for row in kept],
        "nsites": [row.get("natoms") for row in kept],
        "volume_per_atom": [
            row["volume"] / row["natoms"] if row.get("volume") and row.get("natoms") else None for row in kept
        ],
        "spacegroup": [row.get("spacegroup") for row in kept],
        "prototype": [row.get("prototype") for row in kept],
        "database": ["oqmd"] * n,
        "version": [version] * n,
        "date": dates[:n],
        "query": [str(query)] * n,
    }
    return build(columns, [structure_from_sites(row.get("unit_cell"), row.get("sites")) for row in kept])


def structure_from_sites(cell: Any, sites: list[str] | None) -> Atoms | None:
    """Atoms of OQMD's site strings, "He @ 0.333 0.667 0.25" in fractional coordinates; None without them."""
    if not cell or not sites:
        return None
    symbols, scaled = [], []
    for site in sites:
        symbol, _, place = site.partition("@")
        symbols.append(symbol.strip())
        scaled.append([float(x) for x in place.split()])
    return Atoms(symbols, scaled_positions=scaled, cell=cell, pbc=True)


def _offset(link: str, otherwise: int) -> int:
    """The offset that `link` asks for, or `otherwise` where it does not lead onward."""
    given = parse_qs(urlsplit(link).query).get("offset", [""])[0]
    return max(int(given), otherwise) if given.isdigit() else otherwise
