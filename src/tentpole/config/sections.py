"""What every part of the configuration has in common: frozen, typed strictly, no unknown keys, errors that help.

A part is a `Section`, or a frozen dataclass of the physics, which pydantic validates as it is, by the same rules: so a
default or a name is written once.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from tentpole.errors import InputError, nearest

T = TypeVar("T")
Bounds: TypeAlias = Mapping[str, tuple[float, float]]
"""The least and the greatest value that is legal, by key."""


class Section(BaseModel):
    """Base of the tables in a campaign file. Text and booleans are never taken for numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def read_as(kind: type[T], content: Any, where: Path | str) -> T:
    """`content`, as TOML gives it, as a `kind`: a Section or a dataclass of settings.

    Raises InputError that names `where`, every key that cannot be used, the value given and what is wanted.
    """
    try:
        return validated(kind, content)
    except ValidationError as error:
        lines = [f"  {line}" for line in problems(error, kind, content)]
        raise InputError(f"{where}: cannot be used:\n" + "\n".join(lines)) from None


def validated(kind: type[T], content: Any) -> T:
    """`content` as a `kind`, by way of JSON, in which pydantic is strict about numbers and lenient about lists.

    Raises pydantic's ValidationError.
    """
    text = json.dumps({"it": content}, default=_plain)
    holder: Any = _holder(typing.cast(Any, kind))
    return holder.model_validate_json(text).it  # type: ignore[no-any-return]


@functools.cache
def _holder(kind: type) -> type[Section]:
    """A Section around a `kind`: pydantic takes the rules for a plain dataclass from what holds it."""
    return create_model("Holder", __base__=Section, it=(kind, ...))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def plain(kind: type[T], section: Any) -> T:
    """The settings of the physics in `section`, an instance of a subclass of the dataclass `kind`."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(section, name) for name in names})


def check_bounds(settings: Any, bounds: Bounds) -> None:
    """Raises InputError for the first of `settings` that lies outside its `bounds`, both of them legal, or is NaN."""
    for name, (low, high) in bounds.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{name} = {value}: {low:g} to {high:g} is legal")


def problems(error: ValidationError, kind: type, content: Any) -> list[str]:
    """What is wrong with `content`, a line per key, in the words of this project."""
    said: dict[str, list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        problem["loc"] = problem["loc"][1:]  # without the holder
        said.setdefault(_path(problem, content), []).append(problem)
    return [
        f"{path or 'the file'}: {_words(details, kind)}"
        for path, details in said.items()
        # what is said of a list or table is a consequence where one of its entries is refused
        if details[0]["type"] in _UNKNOWN or not any(other.startswith(f"{path}.") for other in said if path)
    ]


def _path(problem: ErrorDetails, content: Any) -> str:
    """The key as the user wrote it: without the branches of unions, which pydantic names too."""
    words: list[str] = []
    for part in problem["loc"]:
        inside = dict(enumerate(content)) if isinstance(content, list | tuple) else content
        if isinstance(inside, dict) and part in inside:
            words.append(str(part))
            content = inside[part]
    if problem["type"] == "missing":
        words.append(str(problem["loc"][-1]))
    if problem["type"].startswith("union_tag"):
        words.append("kind")
    if problem["type"] in _UNKNOWN:
        words.pop()
    return ".".join(words)


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def _words(details: list[ErrorDetails], kind: type) -> str:
    """What is said of one key: the first sentence there is, or else all that would be taken, and what was given."""
    for problem in details:
        if problem["type"] in _UNKNOWN:
            return "; ".join(_unknown_key(p, kind) for p in details if p["type"] in _UNKNOWN)
        if problem["type"] == "value_error":
            return problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            return "is missing, and has no default"
    wanted = list(dict.fromkeys(_wanted(problem, kind) for problem in details))
    return f"{', or '.join(wanted)} is wanted; {_given(details[0])}"


def _unknown_key(problem: ErrorDetails, kind: type) -> str:
    *place, key = problem["loc"]
    legal = [name for branch in branches(type_at(kind, tuple(place))) for name in fields_of(branch)]
    return f'unknown key "{key}"{nearest(str(key), legal) or "."} Legal here: {", ".join(sorted(legal))}.'


def _given(problem: ErrorDetails) -> str:
    value, context = problem["input"], problem.get("ctx", {})
    if problem["type"] == "union_tag_not_found":
        return "none is given"
    if problem["type"] == "union_tag_invalid":
        value = context["tag"]
    text = json.dumps(value, ensure_ascii=False, default=str)
    legal = str(context.get("expected_tags", context.get("expected", ""))).split("'")[1::2]
    hint = nearest(value, legal) if isinstance(value, str) else ""
    return f"given: {text[:77] + '...' if len(text) > 80 else text}{hint}"


def _wanted(problem: ErrorDetails, kind: type) -> str:
    """What would be legal, as a noun."""
    context = problem.get("ctx", {})
    if problem["type"] in _WANTED:
        return _WANTED[problem["type"]]
    if problem["type"] in _BOUNDED:
        return _BOUNDED[problem["type"]](context)
    if problem["type"] == "union_tag_not_found":
        return "one of " + ", ".join(f'"{name}"' for name in kinds_of(type_at(kind, problem["loc"])))
    if problem["type"] == "tuple_type":
        return _list(problem, kind)
    return problem["msg"][:1].lower() + problem["msg"][1:]


def _list(problem: ErrorDetails, kind: type) -> str:
    items = [item for branch in branches(type_at(kind, problem["loc"])) for item in typing.get_args(branch)[:1]]
    if any(fields_of(item) for item in items):
        return f"a list of tables, each headed [[{problem['loc'][-1]}]],"
    given = problem["input"]
    return "a list" if isinstance(given, dict) else f"a list, as in [{json.dumps(given, default=str)}],"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _entries(number: Any) -> str:
    return f"{number} entry" if number == 1 else f"{number} entries"


def _quoted(words: Any) -> str:
    return str(words).replace("'", '"')


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "none_required": "nothing",
    "dict_type": "a table",
    "model_type": "a table",
    "dataclass_type": "a table",
}
_BOUNDED: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than_equal": lambda context: f"{_number(context['ge'])} or more",
    "greater_than": lambda context: f"more than {_number(context['gt'])}",
    "less_than_equal": lambda context: f"{_number(context['le'])} or less",
    "less_than": lambda context: f"less than {_number(context['lt'])}",
    "too_short": lambda context: f"a list of at least {_entries(context['min_length'])}",
    "literal_error": lambda context: _quoted(context["expected"]),
    "union_tag_invalid": lambda context: f"one of {_quoted(context['expected_tags'])}",
}


def fields_of(kind: Any) -> dict[str, Any]:
    """Names and types of the keys of a Section or dataclass; none for anything else."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: _with_metadata(field) for name, field in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {}


def _with_metadata(field: Any) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def branches(kind: Any) -> Iterator[Any]:
    """The types in a union, or the one type there is, without what annotates it."""
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for branch in typing.get_args(kind):
            yield from branches(branch)
    elif kind is not type(None):
        yield kind


def kinds_of(kind: Any) -> list[str]:
    """The legal words for the key `kind` of a table, all branches taken together."""
    kinds = [fields_of(branch).get("kind") for branch in branches(kind)]
    return [str(word) for one in kinds if typing.get_origin(one) is Literal for word in typing.get_args(one)]


def type_at(kind: Any, place: tuple[int | str, ...]) -> Any:
    """The type that pydantic means by the place of an error, or None."""
    for part in place:
        branch_there = None
        for branch in branches(kind):
            if str(part) in kinds_of(branch):
                branch_there = branch
            elif part in fields_of(branch):
                branch_there = fields_of(branch)[str(part)]
            elif typing.get_origin(branch) is dict:
                branch_there = typing.get_args(branch)[1]
            elif isinstance(part, int) and typing.get_args(branch):
                branch_there = typing.get_args(branch)[0]
        kind = branch_there
    return kind
