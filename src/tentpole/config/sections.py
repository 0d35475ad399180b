"""What every part of the configuration has in common: frozen, no unknown keys, errors that help.

`section` turns a settings dataclass of the physics into a part of the configuration, so that a default
or a name is written once.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError

from tentpole.errors import InputError, nearest


class Section(BaseModel):
    """Base of every table in a campaign file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def build(self) -> Any:
        """The settings of the physics that this part of a file stands for."""
        raise NotImplementedError  # `section` gives one to what it makes

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        'unknown key "{key}"{hint} Legal here: {legal}.',
                        {
                            "key": key,
                            "hint": nearest(str(key), cls.model_fields) or ".",
                            "legal": ", ".join(sorted(cls.model_fields)),
                        },
                    )
        return given


def section(settings: type, *, base: type[Section] | None = None, **extra: Any) -> Any:
    """A Section with the fields and defaults of the dataclass `settings`, and `build()` to make one.

    `extra` are fields as pydantic's create_model takes them: those that `settings` has too replace its own (a
    narrower type, or a Section for a nested dataclass), others, for example a `kind`, are not handed to it, nor
    are the fields of `base`.
    """
    hints = typing.get_type_hints(settings)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        fields[field.name] = (hints[field.name], default)

    own = list(fields)
    fields |= extra

    def build(self: Section) -> Any:
        values = {name: getattr(self, name) for name in own}
        return settings(**{name: v.build() if isinstance(v, Section) else v for name, v in values.items()})

    def buildable(self: Section) -> Section:
        try:
            build(self)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    model = create_model(
        settings.__name__,
        __base__=base or Section,
        __doc__=settings.__doc__,
        __validators__={"buildable": model_validator(mode="after")(buildable)},  # type: ignore[dict-item]
        **fields,
    )
    model.build = build  # type: ignore[method-assign]
    return model


def explain_errors(error: ValidationError, model: type[BaseModel], file: Path) -> InputError:
    """All that is wrong with a file in one error: the file, each key, the value given, what is legal.
    `model` is what the file was read as."""
    lines = []
    for problem in error.errors(include_url=False):
        # pydantic names the branch of a union too (after its kind): keep what the user wrote
        path = ".".join(str(part) for part in problem["loc"])
        given = problem.get("input")
        silent = isinstance(given, dict | list) or problem["type"] == "missing"
        shown = "" if silent else f" (given: {given!r})"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "union_tag_not_found":
            branches = typing.get_args(model.model_fields[str(problem["loc"][0])].annotation)
            kinds = ", ".join(f'"{branch.model_fields["kind"].default}"' for branch in branches)
            message = f"say which kind: kind = one of {kinds}"
        lines.append(f"  {path or 'the file'}: {message}{shown}")
    return InputError(f"{file}: cannot be used:\n" + "\n".join(lines))
