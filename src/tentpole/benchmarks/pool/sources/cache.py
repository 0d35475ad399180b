"""Pages already fetched, on disk: a fetch that was cut off goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tentpole.errors import StateError
from tentpole.storage.atomic import read_json, write_json


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/tentpole/pool`, or `~/.cache/tentpole/pool`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tentpole" / "pool"


@dataclass(frozen=True)
class PageCache:
    """Answers by request, one checksummed file each. `folder` None: nothing is kept. `refresh`: not read.

    A request is the service's address and the query's parameters; keys and headers never reach this class.
    """

    folder: Path | None
    refresh: bool = False

    def page(self, request: dict[str, Any], fetch: Callable[[], Any]) -> tuple[Any, str]:
        """The answer to `request` and the date (UTC) it was given on: from disk, else from `fetch()`."""
        if self.folder is None:
            return fetch(), _today()
        name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]
        path = self.folder / name[:2] / f"{name}.json"
        if path.exists() and not self.refresh:
            try:
                stored = read_json(path)
            except StateError:
                path.unlink()  # a damaged page is fetched anew
            else:
                return stored["answer"], str(stored["date"])
        answer, date = fetch(), _today()
        write_json(path, {"version": 1, "request": request, "date": date, "answer": answer})
        return answer, date


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
