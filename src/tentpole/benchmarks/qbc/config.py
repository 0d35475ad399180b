"""The file of a query-by-committee study: one TOML, checked before anything is trained."""

from __future__ import annotations

from pathlib import Path

from tentpole.benchmarks.qbc.study import QBCSettings
from tentpole.config.loading import read_toml
from tentpole.config.schema import checked_rule
from tentpole.config.sections import read_as
from tentpole.errors import InputError


def read_study(path: Path) -> QBCSettings:
    """The study in `path`; a relative `data` is looked for beside the file. Raises InputError."""
    content = read_toml(path, example="examples/05_zundel_qbc/study.toml")
    if isinstance(content.get("data"), str):
        content["data"] = path.resolve().parent / Path(content["data"]).expanduser()
    settings = read_as(QBCSettings, content, path)
    for name, rule in settings.rules.items():
        own = {key: value for key, value in rule.items() if key not in ("rule", "sees")}
        try:
            checked_rule(str(rule.get("rule", name)), own, f"rules.{name}")
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    if not settings.data.is_file():
        raise InputError(f"{path}: data: no such file: {settings.data}")
    return settings
