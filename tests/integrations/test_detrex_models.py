"""One training step of every detector of detrex, as its own config has it, with the assigner.

Images are small, and so is the number of queries; FOCUS-DETR takes 300 queries or more.
"""

import pytest
import torch
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images
from omegaconf import OmegaConf

from stageinteractor.config import apply_overrides
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.detrex import load_project_config, use_cross_stage

pytestmark = [pytest.mark.detrex, pytest.mark.slow]
BOX_REFINEMENT = "model.with_box_refine=true"  # in all recipes, but not in the model's file
SERVED = {
    "anchor_detr/configs/models/anchor_detr_r50.py": [],
    "conditional_detr/configs/models/conditional_detr_r50.py": ["model.num_queries=30"],
    "dab_deformable_detr/configs/models/dab_deformable_detr_r50.py": ["model.num_queries=30"],
    "dab_detr/configs/models/dab_detr_r50.py": ["model.num_queries=30"],
    "deformable_detr/configs/models/deformable_detr_r50.py": ["model.num_queries=30"],
    "detr/configs/models/detr_r50.py": ["model.num_queries=30"],
    "dino/configs/models/dino_r50.py": ["model.num_queries=30"],
    "dino_eva/configs/models/dino_r50.py": ["model.num_queries=30"],
    "dn_deformable_detr/configs/models/dn_deformable_detr_r50.py": ["model.num_queries=30"],
    "dn_detr/configs/models/dn_detr_r50.py": ["model.num_queries=30"],
    "focus_detr/configs/models/focus_detr_r50.py": ["model.num_queries=300"],
    "group_detr/configs/models/group_detr_r50.py": ["model.num_queries=30"],
    "h_deformable_detr/configs/models/h_deformable_detr_r50.py": [BOX_REFINEMENT],
    "pnp_detr/configs/models/pnp_detr_r50.py": ["model.num_queries=30"],
}
REFUSED = {
    "align_detr/configs/models/aligndetr_r50.py": "no method loss_labels",
    "deta/configs/models/deta_r50.py": "assign_second_stage=True",
    "sqr_detr/configs/models/dab_detr_r50_sqr.py": "they are not a chain of stages",
}


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


def train_one_step(path: str, overrides: list[str], with_assigner: bool) -> dict[str, float]:
    """The weighted losses."""
    cfg = load_project_config(path)
    apply_overrides(cfg, ["model.device=cpu", *overrides])
    if with_assigner:  # no threshold: in a fresh model few boxes reach one
        use_cross_stage(cfg.model.criterion, iou_threshold=0.0)
    model = build_model(cfg)
    big = OmegaConf.select(cfg, "model.num_queries", default=0) >= 300
    batch = two_images(384, 480) if big else two_images(128, 160)
    torch.manual_seed(2)
    losses = model(batch)
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("path", SERVED)
def test_class_losses_of_stages_change_and_no_others(path: str):
    plain, actual = (train_one_step(path, SERVED[path], expected) for expected in (False, True))
    changed = {name for name in plain if plain[name] != actual[name]}
    assert set(actual) == set(plain)
    assert changed and changed <= {"loss_class", *(f"loss_class_{stage}" for stage in range(5))}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_served_is_refused(path: str):
    with pytest.raises(UnsupportedHostError, match=REFUSED[path]):
        train_one_step(path, [], with_assigner=True)
