"""Instance segmentation of the digits: train, evaluate by both backends, resume, without code."""

import json
from pathlib import Path

import pycocotools.mask as coco_masks
import pytest
from coco_sets import BOTH
from integrations import detrex_host

from stageinteractor.cli.main import main
from stageinteractor.data.digits_in_photos import make_digits_in_photos

CONFIGS = Path(__file__).resolve().parents[2] / "projects/stageinteractor/configs"
MASKDINO = [
    "model.sem_seg_head.pixel_decoder.transformer_enc_layers=1",
    "model.sem_seg_head.transformer_predictor.dec_layers=2",
    "model.num_queries=20",
    "model.criterion.num_points=100",
    "model.test_topk_per_image=20",
    "model.backbone.freeze_at=5",
    "dataloader.train.mapper.augmentations=[]",
    "dataloader.train.mapper.recompute_boxes=False",
    "dataloader.test.mapper.augmentations=[]",
    "dataloader.train.num_workers=0",
    "dataloader.test.num_workers=0",
    "train.backbone_weights=null",
    "train.epochs=null",
]


@pytest.fixture
def small_digits(tmp_path: Path) -> list[str]:
    """Overrides for a quick run on a few digits with masks."""
    make_digits_in_photos(tmp_path / "digits", num_train=4, num_val=2)
    return [
        "dataset.name=digits",
        "dataset.masks=true",
        *(f"dataset.{s}.json={tmp_path}/digits/{s}.json" for s in ("train", "val")),
        *(f"dataset.{s}.images={tmp_path}/digits/{s}" for s in ("train", "val")),
        "dataloader.train.total_batch_size=2",
        "train.eval_period=0",
        "train.device=cpu",
        "train.log_period=1",
        "train.best_metric=segm/AP50",
        f"train.output_dir={tmp_path / 'run'}",
    ]


def check_mask_ap(call, run: Path) -> None:
    """Evaluate a run by both backends: equal numbers, and masks in the file of detections."""
    metrics = {}
    for backend in BOTH:
        option = f"dataloader.evaluator.backend={backend}"
        call("--eval-only", "--trust-config", option, config=run / "config.yaml")
        files = ("metrics.json", "metrics_segm.json")
        metrics[backend] = [json.loads((run / "evaluation" / file).read_text()) for file in files]
    for one, two in zip(*metrics.values(), strict=True):
        assert one == pytest.approx(two, abs=1e-9, nan_ok=True)
        assert "AP-7" in one
    results = json.loads((run / "evaluation/coco_instances_results.json").read_text())
    assert results and all(each["segmentation"]["size"] == [128, 128] for each in results)


def check_prediction(run: Path, images: Path) -> None:
    """Predict a folder by the command: the JSON has masks of the size of the images."""
    output = run / "predictions"
    options = ["--config-file", str(run / "config.yaml"), "--trust-config", "--min-score", "0"]
    options += [str(images), "--format", "json", "images", "--output", str(output)]
    assert main(["predict", *options]) == 0
    results = json.loads((output / "detections.json").read_text())
    assert len(results) == 40
    assert {coco_masks.decode(each["segmentation"]).shape for each in results} == {(128, 128)}
    assert len(list((output / "images").glob("*.png"))) == 2


@pytest.mark.detrex
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("maskdino_r50_300_12ep", marks=pytest.mark.slow),
        "stable_maskdino_r50_300_12ep",
    ],
)
def test_maskdino_trains_resumes_and_is_evaluated(call, small_digits, tmp_path, monkeypatch, name):
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    config = CONFIGS / f"detrex/{name}.py"
    call(*small_digits, *MASKDINO, "train.max_iter=1", config=config)
    call("--resume", *small_digits, *MASKDINO, "train.max_iter=2", config=config)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.json").read_text().splitlines()]
    keys = set().union(*lines)
    assert {"loss_mask", "loss_dice_0", "loss_ce_interm", "segm/AP", "bbox/AP"} <= keys
    assert ({"segm_nms/AP", "bbox_nms/AP"} <= keys) is name.startswith("stable")
    check_mask_ap(call, tmp_path / "run")
    check_prediction(tmp_path / "run", tmp_path / "digits/val")
