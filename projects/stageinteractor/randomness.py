"""Random numbers that depend only on a key such as (seed, iteration).

So a resumed training equals an uninterrupted one without generator states in its checkpoint, and
augmentations do not depend on the number of data-loading processes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_by_key(*key: int) -> None:
    """Seed Python's, numpy's and torch's generators; different keys give unrelated numbers."""
    torch.manual_seed(_seed_numpy_and_python(key))


@contextmanager
def random_by_key(*key: int) -> Iterator[None]:
    """Seed the CPU generators by a key within the block, and restore them after it."""
    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed_numpy_and_python(key))  # not those of GPUs
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


def _seed_numpy_and_python(key: tuple[int, ...]) -> int:
    """Seed Python and numpy, and return the seed for torch."""
    # SeedSequence ignores trailing zeros, so the length is included
    sequence = np.random.SeedSequence((len(key), *key))
    words = sequence.generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    return int(words[2])
