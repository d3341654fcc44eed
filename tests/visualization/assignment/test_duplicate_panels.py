"""Which query removed which: scores before and after duplicate removal."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from stageinteractor.errors import DataError
from stageinteractor.modeling import DuplicateSuppressor
from stageinteractor.visualization.assignment import (
    collect_assignment,
    draw_duplicates,
    duplicate_panels,
    more_confident_overlaps,
)


def test_the_more_confident_overlapping_query_is_named():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [50, 50, 60, 60]])
    scores = torch.tensor([[0.1, 0.5], [0.9, 0.1], [0.3, 0.2], [0.2, 0.2]])
    # query 2 overlaps 1 (8 / 9) more than 0 (8 / 10), and both are more confident
    assert more_confident_overlaps(scores, boxes) == [1, None, 1, None]
    assert more_confident_overlaps(scores[:0], boxes[:0]) == []


def test_collected_scores_are_those_of_the_detections(detector, add_removal, inputs):
    model = add_removal(detector)
    for one in inputs:
        (item,) = collect_assignment(model, [one])
        best = item.rescored.flatten().topk(2).values
        (output,) = model.eval()([one])
        torch.testing.assert_close(best, output["instances"].scores[:2].cpu())


def test_without_duplicate_removal_there_is_nothing_to_draw(detector, inputs):
    (item, *_) = collect_assignment(detector, inputs)
    assert item.rescored is None
    with pytest.raises(DataError, match=item.name):
        draw_duplicates(item, ["a", "b", "c"], "nowhere.png")


def test_figure_names_queries_with_their_scores(item, tmp_path, monkeypatch):
    scores = torch.zeros(3, 4)
    scores[1, 2] = 0.75
    kept = []
    save = duplicate_panels.save_figure
    monkeypatch.setattr(
        duplicate_panels,
        "save_figure",
        lambda figure, path: (kept.append(figure), save(figure, path)),
    )
    draw_duplicates(replace(item, rescored=scores), ["$a", "b", "c", "d"], tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.width > 500
    before, after = kept[0].axes
    assert len(before.texts) == 3 and [text.get_text() for text in after.texts] == [
        "q1 c 0.75 < q0"
    ]


def test_a_frozen_model_of_transformers_shows_matches_and_scores(inputs):
    from integrations.hf_models import deformable_detr

    from stageinteractor.integrations.duplicate_removal import varifocal_loss
    from stageinteractor.modeling.frozen_transformers import FrozenTransformersDetector
    from stageinteractor.modeling.postprocessing import TopK
    from stageinteractor.modeling.transformers_detector import TransformersDetector

    torch.manual_seed(0)
    common = dict(model=deformable_detr(), postprocessing=TopK(5))
    suppressor = DuplicateSuppressor(embed_dim=32, num_classes=3, num_heads=4)
    frozen = FrozenTransformersDetector(
        suppressor=suppressor, suppressor_loss=varifocal_loss(), **common
    )
    expected = collect_assignment(TransformersDetector(**common), inputs[:1])
    actual = collect_assignment(frozen, inputs[:1])
    assert torch.equal(actual[0].matches, expected[0].matches) and len(actual[0].matches) == 3
    assert expected[0].rescored is None
    best = frozen.eval()(inputs[:1])[0]["instances"].scores
    torch.testing.assert_close(actual[0].rescored.flatten().topk(5).values, best)
