"""The campaign file described: a JSON schema for editors, and the page of all keys, both made from the sections."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tentpole.config.schema import USUAL_KINDS, CampaignConfig
from tentpole.config.sections import branches, fields_of
from tentpole.selection import KINDS

HEAD = """# The keys of a campaign file

Made by `tentpole keys` from the sections of `src/tentpole/config/schema.py`; `tentpole schema` writes the same as JSON
schema, for editors. Only `name`, `reference`, `[[structures]]` and one limit in `[stop]` have no default.
`tentpole init STRUCTURE` writes a file to start from, and `tentpole check` says whether it can run.
"""


LARGE = 1e6
"""A bound beyond this guards against typing errors; the page does not name it."""


def keys_page() -> str:
    """A table of keys per section of a campaign file, as Markdown: default, what is legal, meaning."""
    rules = {f'`[selection]` settings of `rule = "{name}"`': rule for name, rule in KINDS.items()}
    return page_of_keys(CampaignConfig, HEAD, "The campaign", rules)


def page_of_keys(kind: type, head: str, title: str, further: Mapping[str, type]) -> str:
    """A table of keys for `kind`, headed by `title`, for all sections in it, and for `further` ones by title."""
    blocks = [head, *_section(title, kind, skip_tables=True)]
    for name, annotation in fields_of(kind).items():
        blocks += _tables(name, annotation)
    for name, section in further.items():
        blocks += _section(name, section) if fields_of(section) else [f"## {name}\n", "None.\n"]
    return "\n".join(blocks)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a campaign file, each key with its meaning."""
    schema = CampaignConfig.model_json_schema()
    kinds = {kind.__name__: kind for kind in _all_sections(CampaignConfig)}
    for name, part in [("CampaignConfig", schema), *schema.pop("$defs", {}).items()]:
        part["description"] = summary(kinds[name])
        for key, words in meanings(kinds[name]).items():
            part["properties"][key]["description"] = words
        for key, (low, high) in getattr(kinds[name], "BOUNDS", {}).items():
            part["properties"][key] |= {"minimum": low, "maximum": high}
        if part is not schema:
            schema.setdefault("$defs", {})[name] = part
    return schema


def summary(kind: type) -> str:
    """The first paragraph of a section's docstring."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


def meanings(kind: type) -> dict[str, str]:
    """What the keys of a section mean, from `key : meaning` in its docstring and those of what it inherits from."""
    keys = list(fields_of(kind))
    words: dict[str, str] = {}
    for ancestor in reversed(kind.__mro__):
        if ancestor.__module__.startswith("tentpole."):
            words |= dict(_described(_plain_entries(inspect.cleandoc(ancestor.__doc__ or "")), keys))
    return {key: words[key] for key in keys if key in words}


def _plain_entries(text: str) -> str:
    """`key : meaning` for `key : type` with the meaning below it, where `text` has a section of parameters."""
    _, section, entries = text.partition("\nParameters\n----------\n")
    if not section:
        return text
    entries = re.split(r"\n\n\w+\n-+\n", entries)[0]
    return re.sub(r"^(\w+ : ).*\n(?=    )", r"\1", entries, flags=re.MULTILINE)


def _described(text: str, keys: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of key and meaning: a line begins with `key, key : meaning`, and indented or plain lines go on."""
    name = "(?:" + "|".join(map(re.escape, keys)) + ")"
    entry = re.compile(rf"(?:^|(?<=\. )|(?<=\.\n))({name}(?:, {name})*) : ", re.MULTILINE)
    marks = list(entry.finditer(text)) if keys else []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=False):
        words = text[mark.end() : end].partition("\n\n")[0]
        for key in mark[1].split(", "):
            yield key, " ".join(words.split())


def _all_sections(kind: Any) -> Iterator[type]:
    for branch in branches(kind):
        if fields := fields_of(branch):
            yield branch
            for annotation in fields.values():
                yield from _all_sections(annotation)
        else:
            for inner in typing.get_args(branch)[:1]:
                yield from _all_sections(inner)


def _tables(path: str, annotation: Any) -> Iterator[str]:
    """The sections that the key `path` may hold, and those inside them."""
    inside = list(branches(annotation))
    if typing.get_origin(inside[0]) is dict:
        yield from _tables(f"{path}.NAME", typing.get_args(inside[0])[1])
        return
    if typing.get_origin(inside[0]) is tuple and fields_of(item := typing.get_args(inside[0])[0]):
        yield from _section(f"`[[{path}]]`", item)
        for name, inner in fields_of(item).items():
            yield from _tables(f"{path}.{name}", inner)
        return
    sections = [branch for branch in inside if fields_of(branch)]
    for section in sections:
        title = f"`[{path}]`"
        if len(sections) > 1:
            words = typing.get_args(fields_of(section)["kind"])
            usual = " (the default)" if USUAL_KINDS.get(path, "none") in words else ""
            title += " with `kind = " + "` or `".join(json.dumps(word) for word in words) + f"`{usual}"
        yield from _section(title, section, skip_tables=True)
        for name, inner in fields_of(section).items():
            yield from _tables(f"{path}.{name}", inner)


def _section(title: str, kind: type, *, skip_tables: bool = False) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{summary(kind)}\n"
    yield "| key | default | legal | meaning |\n|---|---|---|---|"
    words, defaults = meanings(kind), defaults_of(kind)
    for name, annotation in sorted(fields_of(kind).items(), key=lambda field: field[0] != "kind"):
        if skip_tables and any(True for _ in _tables(name, annotation)):
            continue
        legal = legal_words(annotation)
        if name in (bounds := getattr(kind, "BOUNDS", {})):
            legal += "".join(f", {words}" for words in _bounds([Ge(bounds[name][0]), Le(bounds[name][1])]))
        shown = "" if name not in defaults else "none" if defaults[name] is None else f"`{_toml(defaults[name])}`"
        yield f"| `{name}` | {shown} | {legal} | {words.get(name, '').replace('|', '/')} |"
    yield ""


def defaults_of(kind: type) -> dict[str, Any]:
    """Defaults of a section's keys; without those that have none."""
    if issubclass(kind, BaseModel):
        defaults = {name: field.get_default(call_default_factory=True) for name, field in kind.model_fields.items()}
        return {name: value for name, value in defaults.items() if value is not PydanticUndefined}
    defaults = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    return defaults


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0e}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


_NOUNS: dict[Any, str] = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): ""}


def legal_words(annotation: Any) -> str:
    """What a key takes, in words: "whole number, 1 or more"."""
    limits: list[Any] = []
    while typing.get_origin(annotation) is Annotated:
        annotation, *more = typing.get_args(annotation)
        limits += [item for one in more for item in getattr(one, "metadata", [one])]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        noun = " or ".join(filter(None, map(legal_words, typing.get_args(annotation))))
    else:
        noun = _noun(annotation)
    return ", ".join([noun, *_bounds(limits)])


def _noun(kind: Any) -> str:
    inside = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{json.dumps(word)}`" for word in inside)
    if typing.get_origin(kind) is tuple:
        first, comma, limits = legal_words(inside[0]).partition(",")
        return f"list of {first}s{comma}{limits}".replace("texts", "text")
    return _NOUNS.get(kind, "table")


def _bounds(limits: list[Any]) -> Iterator[str]:
    for limit in limits:
        if isinstance(limit, Ge) and limit.ge > -LARGE:  # type: ignore[operator]
            yield f"{_toml(limit.ge)} or more"
        elif isinstance(limit, Gt):
            yield f"more than {_toml(limit.gt)}"
        elif isinstance(limit, Le) and limit.le < LARGE:  # type: ignore[operator]
            yield f"at most {_toml(limit.le)}"
        elif isinstance(limit, Lt) and limit.lt < LARGE:  # type: ignore[operator]
            yield f"less than {_toml(limit.lt)}"
