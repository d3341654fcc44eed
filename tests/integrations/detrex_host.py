"""Make detrex importable as it is on a machine without a GPU and without its compiled operators.

detrex's Python files have a branch for CPU tensors; what stands in the way of reaching it are hard
imports of packages that this branch does not use, and ``.cuda()`` in the denoising code. Only what
is missing is replaced, and nothing of detrex is edited.
"""

import importlib.util
import sys
import types
from pathlib import Path

import detectron2  # noqa: F401 - looks for cv2 by itself, before there is a stand-in
import pytest
import torch

REASON = "detrex and its folder 'projects' are not on the path"


def is_here() -> bool:
    return all(importlib.util.find_spec(name) for name in ("detrex", "projects"))


def arrange() -> None:
    """Put stand-ins for what is missing into sys.modules."""
    if not is_here():
        pytest.skip(REASON)
    spec = importlib.util.find_spec("detrex")
    root = Path(spec.submodule_search_locations[0])
    _stand_in("detrex._C")
    _stand_in("cv2")
    _stand_in("wandb")
    _stand_in("einops", rearrange=None, repeat=None)
    _stand_in("fairscale")
    _stand_in("fairscale.nn")
    _stand_in("fairscale.nn.checkpoint", checkpoint_wrapper=lambda module, *_, **__: module)
    _stand_in("pkg_resources", resource_filename=lambda package, path: str(root.parent / path))


def _stand_in(name: str, **content) -> None:
    parent = name.rpartition(".")[0]
    if name in sys.modules or (parent != "detrex" and _found(name)):
        return
    module = types.ModuleType(name)
    vars(module).update(content, __path__=[])
    sys.modules[name] = module


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def stay_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``tensor.cuda()`` be the tensor itself, for the time of a test."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)
