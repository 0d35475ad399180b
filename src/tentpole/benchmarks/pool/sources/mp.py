"""Materials Project, through its official client (mp-api)."""

from __future__ import annotations

import os
import warnings
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tentpole.benchmarks.pool.files import structure_from_dict
from tentpole.benchmarks.pool.sources.cache import PageCache
from tentpole.benchmarks.pool.sources.patience import PATIENT, Patience, ServiceError, need, retried, session, within
from tentpole.benchmarks.pool.sources.query import Progress, Query, silent
from tentpole.benchmarks.pool.table import Pool, build
from tentpole.errors import InputError

ENDPOINT = "https://api.materialsproject.org/"
SERVICE = "Materials Project"
COLUMNS = (
    "material_id",
    "formula_pretty",
    "formation_energy_per_atom",
    "band_gap",
    "energy_per_atom",
    "energy_above_hull",
    "density",
    "volume",
    "nsites",
    "total_magnetization",
)


def api_key() -> str:
    """The key in the environment variable MP_API_KEY. Raises InputError, without the value, for an unusable one."""
    key = os.environ.get("MP_API_KEY", "").strip()
    if not key:
        raise InputError(
            "Materials Project needs a key and MP_API_KEY is not set. Get one at "
            "https://next-gen.materialsproject.org/api and `export MP_API_KEY=…`, or leave --mp out."
        )
    if len(key) != 32 or not key.isalnum():
        raise InputError(
            f"the value of MP_API_KEY has {len(key)} characters, a key has 32 letters and digits. Copy it again "
            "from https://next-gen.materialsproject.org/api."
        )
    return key


def fetch_mp(
    query: Query,
    cache: PageCache,
    *,
    endpoint: str = ENDPOINT,
    page: int = 100,
    seed: int = 0,
    patience: Patience = PATIENT,
    on_progress: Progress = silent,
) -> Pool:
    """Summary documents with structures. Where more match than `query.limit`, a random draw by `seed`.

    All matching ids are listed first (light), then documents are fetched `page` ids at a time, each page
    cached: the same command goes on after an interruption. A page that comes twice or comes short is noticed
    by its ids. Raises InputError for a missing or refused key, ServiceError for a service that stays away.
    """
    key = api_key()
    _check_endpoint(endpoint)
    client = _Client(key, endpoint, patience)
    criteria = {"chemsys": query.chemsys} if query.exact else {"elements": ",".join(query.elements)}
    about = {"service": "mp", "endpoint": endpoint, "version": client.version, **criteria}
    entries, _ = cache.page({**about, "page": "ids"}, lambda: client.ids(criteria))
    ids = sorted(entries)
    if len(ids) > query.limit:
        drawn = np.random.default_rng(seed).choice(len(ids), query.limit, replace=False)
        ids = [ids[i] for i in sorted(drawn)]
    documents: list[dict[str, Any]] = []
    dates: list[str] = []
    for start in range(0, len(ids), page):
        some = ids[start : start + page]
        answer, date = cache.page({**about, "page": some}, partial(client.documents, some))
        documents += answer
        dates += [date] * len(answer)
        on_progress(SERVICE, len(documents), len(ids))
    columns: dict[str, list[Any]] = {name: [d.get(name) for d in documents] for name in COLUMNS}
    volumes, sites = columns.pop("volume"), columns["nsites"]
    columns["volume_per_atom"] = [v / n if v and n else None for v, n in zip(volumes, sites, strict=True)]
    n = len(documents)
    columns |= {"database": ["mp"] * n, "version": [client.version] * n, "date": dates, "query": [str(query)] * n}
    return build(columns, [structure_from_dict(d.get("structure")) for d in documents])


def _check_endpoint(endpoint: str) -> None:
    """Raises InputError where the key would travel unencrypted to another machine."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")):
        raise InputError(f"{endpoint}: the key in MP_API_KEY goes over https alone. Legal: {ENDPOINT}.")


class _Client:
    """mp-api's MPRester with our retries around it, and without the key in anything it says."""

    def __init__(self, key: str, endpoint: str, patience: Patience) -> None:
        need("requests")
        self._error = need("mp_api.client.core").MPRestError
        self._patience, self._key = patience, key
        rester = need("mp_api.client").MPRester
        endpoint = endpoint if endpoint.endswith("/") else endpoint + "/"
        http = session(patience, {"x-api-key": key})

        def start() -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the client's advice on its own versions
                return rester(key, endpoint=endpoint, session=http, use_document_model=False, mute_progress_bars=True)

        # its first requests (heartbeat, versions) go past the session, without a time limit of their own
        self._rester = self._call(lambda: within(patience.timeout_s, start))
        self.version = str(self._rester.db_version)

    def ids(self, criteria: dict[str, str]) -> list[str]:
        """Every matching id, once. The service's own count says when the list is whole."""
        current = {**criteria, "deprecated": False}
        total = self._call(lambda: self._rester.materials.summary.count(dict(current)))
        seen: dict[str, str] = {}
        for _ in range(self._patience.tries):
            rows = self._search(current, ("material_id",), 1000)
            seen |= {_canonical(row["material_id"]): str(row["material_id"]) for row in rows}
            if len(seen) >= total:
                return list(seen.values())
        raise ServiceError(
            f"{SERVICE} says {total} materials match and lists {len(seen)}. Give the command again later."
        )

    def documents(self, ids: list[str]) -> list[dict[str, Any]]:
        """The documents of these ids, in this order, each once."""
        by_id: dict[str, dict[str, Any]] = {}
        for _ in range(self._patience.tries):
            lacking = [i for i in ids if _canonical(i) not in by_id]
            if not lacking:
                break
            wanted = {"material_ids": ",".join(lacking)}
            rows = self._search(wanted, (*COLUMNS, "structure"), len(lacking))
            by_id |= {_canonical(row["material_id"]): _plain(row) for row in rows}
        return [by_id[_canonical(i)] for i in ids if _canonical(i) in by_id]

    def _search(self, criteria: dict[str, Any], fields: tuple[str, ...], chunk: int) -> list[dict[str, Any]]:
        # search() derives the schema of all its documents anew for every field it is asked for (2 s a page);
        # _search(), which it calls and its messages name as the alternative, takes the fields as they are
        search = self._rester.materials.summary._search
        how = {"_fields": ",".join(fields), "all_fields": False, "chunk_size": chunk}
        return list(self._call(lambda: search(**criteria, **how)))

    def _call(self, call: Any) -> Any:
        def once() -> Any:
            try:
                return call()
            except self._error as error:
                said = str(error).replace(self._key, "…")
                if "401" in said or "403" in said:
                    raise InputError(
                        "Materials Project refused the key in MP_API_KEY. Copy it again from "
                        "https://next-gen.materialsproject.org/api."
                    ) from None
                if "status code 4" in said and "429" not in said:
                    raise InputError(f"Materials Project refused the request: {said[:300]}") from None
                raise ValueError(said) from None

        return retried(once, SERVICE, self._patience, self._key)


def _canonical(identifier: Any) -> str:
    """One name for both id formats: mp-149 and its new form are the same material."""
    try:
        parsed = need("emmet.core.mpid").AlphaID(str(identifier))
    except ValueError:
        return str(identifier)
    return str(getattr(parsed, "string", parsed))


def _plain(row: Any) -> dict[str, Any]:
    """The document as JSON holds it: ids as text, the structure as a dict."""
    document = {name: row.get(name) for name in COLUMNS}
    document["material_id"] = str(document["material_id"])
    structure = row.get("structure")
    document["structure"] = structure.as_dict() if hasattr(structure, "as_dict") else structure
    return document
