"""The file of a query-by-committee study: one TOML, checked before anything is trained."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from tentpole.benchmarks.qbc.study import QBCSettings
from tentpole.config.sections import explain_errors, section
from tentpole.errors import InputError
from tentpole.training.settings import MACESettings

Training = section(MACESettings)
Study = section(QBCSettings, training=(Training, Field(default_factory=Training)))


def read_study(path: Path) -> QBCSettings:
    """The study in `path`; a relative `data` is looked for beside the file. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. See examples/05_zundel_qbc/study.toml for one.")
    try:
        content = tomllib.loads(path.read_text())
        if isinstance(content.get("data"), str):
            content["data"] = path.resolve().parent / Path(content["data"]).expanduser()
        settings: QBCSettings = Study.model_validate(content).build()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    except ValidationError as error:
        raise explain_errors(error, Study, path) from None
    if not settings.data.is_file():
        raise InputError(f"{path}: data: no such file: {settings.data}")
    return settings
