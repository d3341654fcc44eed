"""stageinteractor visualize-assignment: the names of its files. tests/e2e runs it on a training."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from stageinteractor.data import annotated
from stageinteractor.engine import build
from stageinteractor.visualization import assignment, query_tracks
from stageinteractor.visualization.assignment import ImageAnchors, ImageAssignment

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "projects/stageinteractor/configs/demo/digits_in_photos.py"


def no_gt(name: str) -> ImageAssignment:
    """An image without objects, two queries at two stages."""
    return ImageAssignment(
        name=name,
        image=np.zeros((20, 30, 3), dtype=np.uint8),
        gt_boxes=torch.zeros(0, 4),
        gt_classes=torch.zeros(0, dtype=torch.long),
        boxes=torch.zeros(2, 2, 4),
        scores=torch.zeros(2, 2, 10),
        matches=torch.full((2, 2), -1),
        assigned=torch.full((2, 2, 1), -1),
        scope=torch.ones(2, 2, dtype=torch.bool),
    )


def test_files_of_equal_names_get_names_of_their_own(load_tool, tmp_path, monkeypatch):
    tool = load_tool("visualize_assignment")
    names = ["1.jpg", "1.png", "statistics.jpg"]  # the first two from two folders
    names += ["2_anchors.jpg", "2.jpg"]
    monkeypatch.setattr(annotated, "annotated_inputs", lambda cfg, split, images: names)
    monkeypatch.setattr(build, "build_trained_model", lambda cfg, weights: None)
    monkeypatch.setattr(assignment, "collect_assignment", lambda model, batch: map(no_gt, batch))
    anchors = ImageAnchors(torch.zeros(1, 4), torch.ones(1), {16: torch.zeros(0, 4)})
    monkeypatch.setattr(assignment, "record_anchors", lambda model: nullcontext([anchors]))
    monkeypatch.setattr(query_tracks, "record_stages", lambda model: nullcontext([]))
    arguments = ["--config-file", str(DEMO), "--output", str(tmp_path), "train.device=cpu"]
    assert tool.main([*arguments, "dataset.class_names=[zero]"]) == 0
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        *("1.png", "1_.png", "statistics_.png", "2_anchors.png", "2_.png"),
        *("1_anchors.png", "1__anchors.png", "statistics__anchors.png"),
        *("2_anchors_anchors.png", "2__anchors.png"),
        *("statistics.json", "assignment.html"),
    }
