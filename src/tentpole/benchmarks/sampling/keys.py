"""The page of all keys of a study, made from its sections."""

from __future__ import annotations

from tentpole.benchmarks.sampling.config import SamplingConfig
from tentpole.benchmarks.sampling.rules import PEERS
from tentpole.config.keys import page_of_keys
from tentpole.selection import KINDS

HEAD = """# The keys of a study of policies

Made by `tentpole keys sampling` from the sections of `src/tentpole/benchmarks/sampling/config.py`, for
`tentpole sampling STUDY.toml`. Only `teacher`, `[[structures]]`, `[policies.NAME]` and `sizes` have no default.
"""


def study_keys_page() -> str:
    """A table of keys per section, as Markdown: default, what is legal, meaning."""
    rules = {f'settings of `rule = "{name}"`': rule for name, rule in {**KINDS, **PEERS}.items()}
    return page_of_keys(SamplingConfig, HEAD, "The study", rules)
