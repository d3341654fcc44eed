"""Instance segmentation with models of transformers: losses, detections and mask AP."""

from pathlib import Path

import numpy as np
import pytest
import torch
from coco_sets import BOTH
from detectron2.data import DatasetCatalog
from integrations.hf_models import SEGMENTATION
from omegaconf import OmegaConf

from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.data.digits_in_photos import make_digits_in_photos
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.errors import DataError, UnsupportedHostError
from stageinteractor.evaluation import CocoEvaluator
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.modeling.mask_outputs import detections_with_masks, rescale_masks
from stageinteractor.modeling.postprocessing import TopK, TopKNms
from stageinteractor.modeling.transformers_detector import TransformersDetector

models = pytest.mark.parametrize("name", SEGMENTATION)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Records of a few digits, with masks; the set is registered as masked_digits."""
    folder = tmp_path_factory.mktemp("masks") / "digits"
    make_digits_in_photos(folder, num_train=2, num_val=2)
    splits = {
        s: {"json": str(folder / f"{s}.json"), "images": str(folder / s)} for s in ("train", "val")
    }
    resolve_dataset(OmegaConf.create({"name": "masked_digits", "masks": True} | splits))
    mapper = DetectionMapper(is_train=True, augmentations=[], masks=True)
    return [mapper(record) for record in DatasetCatalog.get("masked_digits_val")]


def detector(name: str, assigner: CrossStageAssigner | None = None) -> TransformersDetector:
    torch.manual_seed(0)
    make, divisibility = SEGMENTATION[name]
    return TransformersDetector(
        model=make(),
        postprocessing=TopK(20),
        assigner=assigner,
        normalizer="host",
        size_divisibility=divisibility,
    )


def loss_of(model: TransformersDetector, batch: list[dict]) -> torch.Tensor:
    torch.manual_seed(2)
    return model.train()(batch)["loss"]


@models
def test_training_step_with_the_assigner_reaches_the_mask_head(name: str, digits: list[dict]):
    model = detector(name, CrossStageAssigner(iou_threshold=0.1))
    loss = loss_of(model, digits)
    loss.backward()
    assert loss.isfinite()
    head = [
        parameter.grad
        for key, parameter in model.named_parameters()
        if "mask_head" in key or "segmentation" in key or "spatial_features" in key
    ]
    assert head and all(grad is not None and grad.isfinite().all() for grad in head)


def test_training_without_masks_is_refused(digits: list[dict]):
    record = {**digits[0], "instances": digits[0]["instances"][:]}
    record["instances"].remove("gt_masks")
    with pytest.raises(DataError, match="dataset.masks=true"):
        loss_of(detector("detr"), [record])


def test_a_matcher_without_mask_costs_is_refused_at_once():
    with pytest.raises(UnsupportedHostError, match="PositionModulatedMaskMatcher"):
        TransformersDetector(
            model=SEGMENTATION["rf_detr"][0](),
            postprocessing=TopK(20),
            assigner=CrossStageAssigner(),
            matcher=PositionModulatedHostMatcher(),
            size_divisibility=56,
        )


@models
def test_both_backends_agree_on_the_masks_of_a_model(name: str, digits: list[dict], tmp_path: Path):
    model = detector(name).eval()
    outputs = model(digits)
    for output in outputs:
        masks = output["instances"].pred_masks
        assert masks.shape == (20, 128, 128) and masks.dtype == torch.bool
    metrics = []
    for backend in BOTH:
        evaluator = CocoEvaluator("masked_digits_val", str(tmp_path), backend, masks=True)
        evaluator.reset()
        evaluator.process(digits, exact(digits, outputs))
        metrics.append(evaluator.evaluate()["segm"])
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-9, nan_ok=True)
    assert metrics[0]["AP"] > 10


def exact(digits: list[dict], outputs: list[dict]) -> list[dict]:
    """The predictions, the first ones with masks and classes of the ground truth."""
    for item, output in zip(digits, outputs, strict=True):
        truth, instances = item["instances"], output["instances"]
        count = len(truth) - 1
        instances.pred_masks[:count] = truth.gt_masks[:count]
        instances.pred_classes[:count] = truth.gt_classes[:count]
    return outputs


@pytest.mark.parametrize("postprocessing", [TopK(3), TopKNms(3, 0.9)])
def test_every_detection_has_the_mask_of_its_query(postprocessing: TopK):
    """Query 2 is best, for two classes; the masks are half planes that differ by query."""
    logits = torch.tensor([[[-9.0, -9.0], [-1.0, -9.0], [3.0, 2.0]]])
    boxes = torch.tensor([[[0.0, 0, 9, 9], [20, 20, 30, 30], [0, 0, 9, 9]]])
    masks = torch.full((1, 3, 4, 4), -5.0)
    masks[0, 1, :2] = 5.0  # upper half
    masks[0, 2, :, :2] = 5.0  # left half
    (found,) = detections_with_masks(
        postprocessing, logits, boxes, masks, sizes=[(24, 32)], padded_size=(32, 32)
    )
    assert found.pred_classes.tolist() == [0, 1, 0]
    rescale_masks(found, 48, 64)
    assert found.pred_masks.shape == (3, 48, 64)
    left = np.arange(64) < 32
    for mask in found.pred_masks[:2].numpy():
        assert (mask == left).all()
    upper = found.pred_masks[2].numpy()
    assert upper[:30].all() and not upper[34:].any()
