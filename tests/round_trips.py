"""Three ways to copy an object, as a parametrisation of a test."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def through_torch_save(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {"pickle": through_pickle, "torch.save": through_torch_save, "deepcopy": copy.deepcopy}
ways = pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS.keys())
