"""Make detrex importable as it is on a machine without a GPU and without its compiled operators.

detrex's Python files have a branch for CPU tensors; what stands in the way of reaching it are hard
imports of packages that this branch does not use, and ``.cuda()`` in the denoising code. Only what
is missing is replaced, only while detrex is imported, and nothing of detrex is edited.
"""

import contextlib
import functools
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import detectron2.data  # noqa: F401 - looks for cv2 by itself, before there is a stand-in
import pytest
import torch

REASON = "detrex and its folder 'projects' are not on the path"
PROJECTS = (
    *("align_detr", "dab_deformable_detr", "deformable_detr", "deta", "dino", "dn_detr"),
    *("dino_eva", "group_detr", "h_deformable_detr", "conditional_detr", "dab_detr", "detr"),
)


def is_here() -> bool:
    return all(importlib.util.find_spec(name) for name in ("detrex", "projects", "projects.dino"))


def root() -> Path:
    """Return the clone of detrex; the current folder without one."""
    spec = importlib.util.find_spec("detrex")
    return Path(spec.submodule_search_locations[0]).parent if spec else Path()


def arrange() -> None:
    """Import detrex and the projects that the tests need, or skip."""
    if not is_here():
        pytest.skip(REASON)
    _import_all()


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Stand-ins for the packages that are missing, while detrex's files are imported."""
    expected = {
        "detrex._C": {},
        "cv2": {},
        "wandb": {},
        "easydict": {"EasyDict": types.SimpleNamespace},
        "einops": {"rearrange": None, "repeat": None},
        "fairscale": {},
        "fairscale.nn": {},
        "fairscale.nn.checkpoint": {"checkpoint_wrapper": lambda module, *_, **__: module},
        "pkg_resources": {"resource_filename": lambda package, path: str(root() / path)},
    }
    missing = {name: content for name, content in expected.items() if not _found(name)}
    for name, content in missing.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content, __path__=[])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in missing:
            del sys.modules[name]


@functools.cache
def _import_all() -> None:
    with stand_ins():
        importlib.import_module("detrex.config")
        importlib.import_module("detrex.modeling")
        for project in PROJECTS:
            importlib.import_module(f"projects.{project}.modeling")


def _found(name: str) -> bool:
    if name == "detrex._C":  # looking for it would import detrex
        folders = importlib.util.find_spec("detrex").submodule_search_locations
        return any(any(Path(folder).glob("_C.*")) for folder in folders)
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def stay_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``tensor.cuda()`` and ``tensor.to("cuda")`` be the tensor itself, during a test."""
    to = torch.Tensor.to

    def to_cpu(self, *args, **kwargs):
        return self if args == ("cuda",) else to(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)
    monkeypatch.setattr(torch.Tensor, "to", to_cpu)
