import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from float32_products import float32_products  # noqa: F401

from stageinteractor.checkpoint import convert_mmdet_state_dict
from stageinteractor.modeling import LearnedQueries, StageInteractorDecoder

HERE = Path(__file__).parent / "data"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "golden"
SIZES = {
    "goldenA": dict(embed_dim=64, feedforward_dim=96, num_classes=12, out_points=16),
    "goldenB_zero_gt_image": dict(embed_dim=32, feedforward_dim=64, num_classes=6, out_points=8),
    "goldenB_all_zero_gt": dict(embed_dim=32, feedforward_dim=64, num_classes=6, out_points=8),
}
POINTS = {
    "A": dict(first_point_groups=8, point_groups=4),
    "B": dict(first_point_groups=4, point_groups=2),
}


class Recording(NamedTuple):
    """What the published implementation was given and what it gave."""

    name: str
    data: dict[str, np.ndarray]
    meta: dict
    sizes: dict

    def read(self, key: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.tensor(self.data[key]).to(dtype)

    def stacked(self, pattern: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """All six stages of a key with {} for the stage."""
        return torch.stack([self.read(pattern.format(stage), dtype) for stage in range(6)])

    def parameters(self, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
        """All parameters under their published names."""
        return {
            key.removeprefix("param/"): self.read(key, dtype)
            for key in self.data
            if key.startswith("param/")
        }

    def features(self, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
        return [self.read(f"feat/{level}", dtype) for level in range(4)]

    def image_sizes(self, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return torch.tensor(self.meta["img_hw"], dtype=dtype)

    def targets(self, dtype: torch.dtype = torch.float64) -> list[dict[str, torch.Tensor]]:
        return [
            {
                "boxes": self.read(f"gt/boxes/{image}", dtype).reshape(-1, 4),
                "labels": self.read(f"gt/labels/{image}", torch.long),
            }
            for image in range(len(self.meta["img_hw"]))
        ]

    def decoder(self, dtype: torch.dtype = torch.float64) -> StageInteractorDecoder:
        decoder = StageInteractorDecoder(**self.sizes).to(dtype)
        state = converted(self.parameters(dtype), "decoder.")
        decoder.load_state_dict(state)
        return decoder

    def queries(self, dtype: torch.dtype = torch.float64) -> LearnedQueries:
        weight = self.parameters(dtype)["rpn_head.init_content_features.weight"]
        queries = LearnedQueries(num_queries=len(weight), embed_dim=weight.shape[1]).to(dtype)
        queries.load_state_dict({"content.weight": weight})
        return queries


def converted(published: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    state = convert_mmdet_state_dict(published).state
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@pytest.fixture(params=list(SIZES))
def recording(request) -> Recording:
    return load(request.param)


@pytest.fixture(params=["goldenA", "goldenB_zero_gt_image"])
def recording_with_objects(request) -> Recording:
    return load(request.param)


@pytest.fixture
def recording_without_objects() -> Recording:
    return load("goldenB_all_zero_gt")


RECORDED = np.load(HERE / "assigner_cases.npz")


class AssignerCase(NamedTuple):
    """Predictions and objects of a recorded case, and what the published code made of them."""

    logits: torch.Tensor  # (S, B, N, C)
    boxes: torch.Tensor  # (S, B, N, 4)
    targets: list[dict[str, torch.Tensor]]
    image_sizes: torch.Tensor  # (B, 2)
    matched: torch.Tensor  # (S, B, N) bool
    class_targets: torch.Tensor  # (S, B, N, C)
    losses: torch.Tensor  # (S, 3): class, L1, GIoU; from a float32 run


@pytest.fixture(params=sorted({k.split("/")[0] for k in RECORDED.files if k.startswith("case")}))
def assigner_case(request) -> AssignerCase:
    def read(name: str) -> torch.Tensor:
        return torch.tensor(RECORDED[f"{request.param}/{name}"]).double()

    sizes = read("img_wh").flip(-1)
    targets = [
        {"boxes": read(f"gt_boxes/{b}").reshape(-1, 4), "labels": read(f"gt_labels/{b}").long()}
        for b in range(len(sizes))
    ]
    inputs = read("logits"), read("boxes"), targets, sizes
    return AssignerCase(*inputs, read("regmask").bool(), read("target"), read("loss"))


def load(name: str) -> Recording:
    for folder in (HERE, SHARED):
        if (folder / f"{name}.npz").is_file():
            data = dict(np.load(folder / f"{name}.npz"))
            sizes = SIZES[name] | POINTS[name[6]] | dict(points_per_group=4)
            return Recording(name, data, json.loads(str(data["meta_json"])), sizes)
    pytest.skip(f"{name}.npz is too large for the repository and not beside it in shared/golden")
