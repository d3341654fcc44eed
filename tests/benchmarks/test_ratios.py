import pytest
import torch

from benchmarks import ratios
from benchmarks.ratios import predictions_near_objects
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.machine.matmul import Trial
from stageinteractor.modeling import StageInteractorDecoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def decoder() -> StageInteractorDecoder:
    return StageInteractorDecoder(
        num_stages=3,
        embed_dim=16,
        num_groups=2,
        num_heads=4,
        feedforward_dim=12,
        num_classes=4,
        point_groups=2,
        points_per_group=2,
        out_points=4,
    )


@pytest.fixture(scope="module")
def rows(decoder) -> dict[str, ratios.Row]:
    """All rows, of a small decoder and image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ratios, "paper_decoder", lambda: decoder)
        patch.setattr(ratios, "IMAGE", (64, 96))
        patch.setattr(ratios, "trial", lambda: Trial(error=1e-7, speedup=1.0))
        return {row.name: row for row in ratios.ratio_rows(queries=5, repeats=2)}


def test_every_target_has_a_row(rows):
    assert {name: row.target for name, row in rows.items()} == {
        "decoder forward": 1.3,
        "decoder forward and backward": 1.4,
        "memory kept for backward (ours / reference)": 0.7,
        "memory of inference, at its peak (ours / reference)": 0.7,
        "decoder forward, both with oneDNN": 1.3,
        "decoder forward and backward, both with oneDNN": 1.4,
        "decoder forward, ours in bf16": 1.3,
        "decoder forward and backward, ours in bf16": 1.4,
        "memory kept for backward (ours / reference), ours in bf16": 0.7,
        "memory of inference, at its peak (ours / reference), ours in bf16": 0.7,
        "matching and class targets": 6.0,
        "criterion forward and backward": 2.5,
    }


def test_ratios_are_of_both_sides(rows):
    for row in rows.values():
        assert row.reference > 0 and row.ours > 0
        fewer = row.ours / row.reference if row.unit == "MiB" else row.reference / row.ours
        assert row.ratio == fewer


def test_predictions_have_labels_to_be_gathered():
    logits, boxes, targets, sizes = predictions_near_objects(CPU)
    assert logits.shape == (6, 2, 100, 80)
    assert boxes.shape == (6, 2, 100, 4)
    assert [len(target["labels"]) for target in targets] == [20, 20]
    for target in targets:
        assert target["boxes"].min() >= 0
        assert (target["boxes"][:, 2:] <= sizes[0].flip(0)).all()
    matches = HungarianMatcher()(logits, boxes, targets, sizes)
    labels = CrossStageAssigner()(boxes, matches, targets, 80)
    assert labels[0].sum() > 1.2 * (matches[0] >= 0).sum()
