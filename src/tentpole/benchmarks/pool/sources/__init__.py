"""Where a pool comes from: Materials Project, OQMD, any OPTIMADE service, and files."""

from __future__ import annotations

from tentpole.benchmarks.pool.sources.cache import PageCache, default_cache
from tentpole.benchmarks.pool.sources.mp import ENDPOINT as MP_ENDPOINT
from tentpole.benchmarks.pool.sources.mp import fetch_mp
from tentpole.benchmarks.pool.sources.optimade import OPTIMADE_SERVICES, fetch_optimade
from tentpole.benchmarks.pool.sources.oqmd import ENDPOINT as OQMD_ENDPOINT
from tentpole.benchmarks.pool.sources.oqmd import fetch_oqmd
from tentpole.benchmarks.pool.sources.query import Query
from tentpole.benchmarks.pool.sources.tables import fetch_table

__all__ = [
    "MP_ENDPOINT",
    "OPTIMADE_SERVICES",
    "OQMD_ENDPOINT",
    "PageCache",
    "Query",
    "default_cache",
    "fetch_mp",
    "fetch_optimade",
    "fetch_oqmd",
    "fetch_table",
]
