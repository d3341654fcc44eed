"""Keys of a config file that look like a described key, misspelt.

Unknown keys are allowed, since files may have keys of other tools. Overrides are stricter: a key
has to exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from omegaconf import DictConfig

from .tree import leaves


def misspelt_keys(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """Yield (key, described key) of ``train``, such as train.max_itre and train.max_iter."""
    known: dict[str, set[str]] = {}  # names by the mapping that they are in
    for key in leaves():
        while key:
            parent, _, name = key.rpartition(".")
            known.setdefault(parent, set()).add(name)
            key = parent
    if "train" in cfg:
        yield from _in_mapping(cfg.train, "train", known)


def _in_mapping(
    node: DictConfig, path: str, known: dict[str, set[str]]
) -> Iterator[tuple[str, str]]:
    names = known[path]
    for name in map(str, node):
        if name not in names:
            for like in difflib.get_close_matches(name, names - set(node), n=1, cutoff=0.8):
                yield f"{path}.{name}", f"{path}.{like}"
        elif f"{path}.{name}" in known and isinstance(node._get_node(name), DictConfig):
            yield from _in_mapping(node[name], f"{path}.{name}", known)
