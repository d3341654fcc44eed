"""Duplicate removal behind models of detrex."""

import pytest
import torch
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images

from stageinteractor.config import apply_overrides, get_config, instantiate
from stageinteractor.engine.weights import load_weights
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.detrex import load_project_config
from stageinteractor.integrations.duplicate_removal import remove_duplicates
from stageinteractor.modeling import DuplicateSuppressor, ResidualLogits

pytestmark = pytest.mark.detrex
SMALL = ["model.num_queries=30", "model.select_box_nums_for_evaluation=30"]
SHARED_HEAD = "deformable_detr/configs/models/deformable_detr_r50.py"
MODELS = {
    SHARED_HEAD: SMALL,
    "dab_detr/configs/models/dab_detr_r50.py": SMALL,
    "dino/configs/models/dino_r50.py": SMALL,  # denoising queries, and a head for the encoder
}


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)


def build(path: str, overrides: list[str], **options):
    cfg = load_project_config(path)
    apply_overrides(cfg, ["model.device=cpu", *overrides])
    model = build_model(cfg).eval()
    suppressor = DuplicateSuppressor(embed_dim=256, num_classes=80, feedforward_dim=64, **options)
    return model, remove_duplicates(model, suppressor)


@pytest.mark.parametrize("path", MODELS)
def test_residual_head_detects_as_the_model_does_at_first(path: str):
    model, frozen = build(path, MODELS[path], head=ResidualLogits)
    (item, _) = two_images(128, 160)
    with torch.no_grad():
        (expected,), (actual,) = model([item]), frozen.eval()([item])
    assert torch.equal(actual["instances"].scores, expected["instances"].scores)
    boxes = (each["instances"].pred_boxes.tensor for each in (actual, expected))
    assert torch.equal(*boxes)


def test_assignment_figures_have_the_new_scores():
    from stageinteractor.visualization.assignment import collect_assignment

    frozen = build(SHARED_HEAD, SMALL, head=ResidualLogits)[1]
    (item,) = collect_assignment(frozen, two_images(128, 160)[:1])
    torch.testing.assert_close(item.rescored, item.scores[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", MODELS)
def test_training_changes_the_suppressor_only(path: str):
    model, frozen = build(path, MODELS[path])
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in frozen.parameters() if p.requires_grad], lr=0.1)
    losses = frozen.train()(two_images(128, 160))
    assert list(losses) == ["loss_suppressor_class"] and not model.training
    losses["loss_suppressor_class"].backward()
    optimizer.step()
    changed = {k for k, v in frozen.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(name.startswith("suppressor.") for name in changed)


def test_softmax_scores_are_refused():
    frozen = build("detr/configs/models/detr_r50.py", SMALL[:1])[1]
    with pytest.raises(UnsupportedHostError, match="softmax"):
        frozen.eval()(two_images(128, 160)[:1])


def test_recipe_loads_the_checkpoint_of_its_detector(tmp_path):
    cfg = get_config("deformable_detr_r50_duplicate_removal")
    apply_overrides(cfg, ["train.device=cpu", "dataset.num_classes=80"])
    model = instantiate(cfg.model, "model")
    theirs = get_config("deformable_detr_r50_12ep")
    apply_overrides(theirs, ["train.device=cpu"])
    torch.save(instantiate(theirs.model, "model").state_dict(), tmp_path / "detector.pth")
    missing = load_weights(model, tmp_path / "detector.pth")
    assert missing and all(name.startswith("suppressor.") for name in missing)
