"""The detector overfits two images."""

from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate

from stageinteractor.config import apply_overrides, load_config
from stageinteractor.data.coco_format import read_coco
from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.registration import to_records
from stageinteractor.engine.optim import ClampedAdamW
from stageinteractor.engine.schedule import one_cycle
from stageinteractor.evaluation.coco import coco_api, evaluate_boxes

ITERATIONS = {
    "digits_in_photos.py": 400,
    "digits_in_photos_stable.py": 400,
    "digits_in_photos_asag.py": 200,
}


@pytest.fixture(autouse=True)
def one_thread():
    """Several threads are much slower beside other jobs, and sum in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_images(tmp_path):
    make_digits_in_photos(tmp_path / "digits", num_train=2, num_val=1)
    coco_set = read_coco(tmp_path / "digits" / "train.json")
    return coco_set, to_records(coco_set, tmp_path / "digits" / "train")


TINY_BACKBONE = ["model.backbone.name=test_efficientnet", "model.neck.in_channels=[24,32,48,64]"]
LEARNED_QUERIES = [
    *("model.queries.num_queries=20", "model.decoder.num_stages=3"),
    "model.decoder.feedforward_dim=256",
]
OVERRIDES = {
    "digits_in_photos.py": [*TINY_BACKBONE, *LEARNED_QUERIES],
    "digits_in_photos_stable.py": [*TINY_BACKBONE, *LEARNED_QUERIES],
    "digits_in_photos_asag.py": [*TINY_BACKBONE, "model.queries.generator.warmup_steps=50"],
}


@pytest.fixture
def model(e2e_config, config):
    torch.manual_seed(0)
    cfg = load_config(Path(e2e_config).with_name(config))
    small = ["dataset.num_classes=10", "model.backbone.weights=null", "model.decoder.embed_dim=64"]
    still = ["model.backbone.fixed_statistics=true"]
    apply_overrides(cfg, [*small, *still, *OVERRIDES[config]])
    return instantiate(cfg.model)


@pytest.mark.slow
@pytest.mark.parametrize("config", OVERRIDES)
def test_overfits_two_images_to_ap_95(config, two_images, model):
    coco_set, records = two_images
    batch = [DetectionMapper(is_train=True, augmentations=[])(record) for record in records]
    optimizer = ClampedAdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
    schedule = one_cycle()
    model.train()
    for iteration in range(ITERATIONS[config]):
        optimizer.param_groups[0]["lr"] = 1e-3 * schedule(iteration / ITERATIONS[config])
        optimizer.zero_grad()
        loss = sum(model(batch).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    model.eval()
    results = []
    for item, output in zip(batch, model(batch), strict=True):
        instances = output["instances"]
        boxes = instances.pred_boxes.tensor
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, label in zip(
            boxes.tolist(), instances.scores.tolist(), instances.pred_classes.tolist(), strict=True
        ):
            results.append(
                {"image_id": item["image_id"], "bbox": box, "score": score, "category_id": label}
            )
    evaluation = evaluate_boxes(coco_api(coco_set), results, [1, 2], "pycocotools")
    assert 100 * evaluation.stats[0] >= 95
