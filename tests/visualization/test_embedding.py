"""t-SNE of queries: which are kept, their classes, and the figure."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch import nn

from stageinteractor.errors import DataError, MissingDependencyError, UnsupportedHostError
from stageinteractor.modeling import DecoderOutput
from stageinteractor.modeling.meta_architecture import MetaArchitecture
from stageinteractor.visualization.embedding import (
    QueryContent,
    collect_content,
    embed,
    plot_embedding,
)


class FourQueries(MetaArchitecture):
    """A model with fixed boxes, scores and contents."""

    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10.0]])
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.1], [0.1, 0.4], [0.1, 0.8]])

    def __init__(self) -> None:
        super().__init__((0, 0, 0), (1, 1, 1), 32)
        self.calls = 0

    def decode(self, batch: torch.Tensor, images: list[torch.Tensor]) -> Any:
        assert not torch.is_grad_enabled() and not self.training
        assert batch.shape == (1, 3, 64, 64)
        self.calls += 1
        logits = torch.stack([torch.zeros(4, 2), self.scores.logit()])[:, None]
        boxes = self.boxes.expand(2, 1, 4, 4)
        content = self.calls + torch.arange(2 * 4 * 3.0).view(2, 1, 4, 3)
        return DecoderOutput(logits, boxes, boxes, content), self.image_sizes(images)

    def losses(self, images: Any, targets: Any) -> Any:
        raise AssertionError("the contents of queries need no losses")

    def detect(self, images: Any) -> Any:
        raise AssertionError("the contents of queries need no detections")


def annotated(boxes: list[list[float]], classes: list[int]) -> dict[str, Any]:
    instances = Instances((50, 60))
    instances.gt_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.long)
    return {"image": torch.zeros(3, 50, 60), "instances": instances}


OBJECTS = annotated([[1, 0, 10, 10], [20, 20, 30, 24]], [1, 0])


def test_confident_queries_are_kept_with_their_gt_class():
    model = FourQueries().train()
    queries = collect_content(model, [OBJECTS], min_score=0.3)
    # query 1 scores 0.2; query 2 has an IoU of 0.4 with its object; query 3 is far from any
    assert queries.classes.tolist() == [1, -1, -1]
    assert queries.predicted.tolist() == [0, 1, 1]
    kept = torch.arange(24.0).view(2, 4, 3)[:, [0, 2, 3]] + 1
    assert torch.equal(queries.content, kept)


def test_queries_are_chosen_by_scores_after_duplicate_removal(monkeypatch):
    model = FourQueries()
    decode = model.decode

    def with_removal(*args: Any) -> Any:
        output, sizes = decode(*args)
        return output._replace(
            rescored=output.logits[-1].flip(-1) - torch.tensor([0.0, 2.0])
        ), sizes

    monkeypatch.setattr(model, "decode", with_removal)
    queries = collect_content(model, [OBJECTS], min_score=0.3)
    # of (0.1, 0.9), (0.1, 0.2), (0.4, 0.1), (0.8, 0.1) with two off the second class's logits
    assert queries.predicted.tolist() == [1, 0, 0]


def test_queries_of_all_images_are_concatenated():
    queries = collect_content(FourQueries(), [OBJECTS, annotated([], [])], min_score=0.5)
    assert queries.classes.tolist() == [1, -1, -1, -1]
    assert queries.content.shape == (2, 4, 3)
    assert queries.content[0, :, 0].tolist() == [1, 10, 2, 11]


def test_third_party_models_are_refused():
    with pytest.raises(UnsupportedHostError, match="Linear has no method 'decode'"):
        collect_content(nn.Linear(2, 2), [OBJECTS])


def clusters(each: int = 15) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[0.0] * 8, [20.0] * 8])
    return (centers[:, None] + torch.randn(2, each, 8, generator=generator)).flatten(0, 1)


def test_clusters_stay_separate_in_the_plane():
    places = embed(clusters())
    assert places.shape == (30, 2)
    first, second = places[:15], places[15:]
    spread = max(np.ptp(first, axis=0).max(), np.ptp(second, axis=0).max())
    assert np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) > spread / 2
    assert np.array_equal(places, embed(clusters()))


def test_missing_scikit_learn_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(MissingDependencyError, match="pip install .*'scikit-learn>="):
        embed(clusters())


def test_every_stage_has_a_panel_with_all_queries(tmp_path: Path, figures: list[Any]):
    classes = torch.tensor([0, 0, 0, 1, 1, -1, -1])
    predicted = torch.tensor([0, 0, 1, 1, 1, 0, 1])
    queries = QueryContent(torch.zeros(6, 7, 4), classes, predicted)
    places = [np.random.default_rng(stage).normal(size=(7, 2)) for stage in range(6)]
    plot_embedding(places, queries, ["cat", "dog", "never seen"], tmp_path / "embedding.png")
    panels = figures[0].axes
    assert [panel.get_title() for panel in panels[:6]] == [f"stage {s}" for s in range(6)]
    assert [panel.axison for panel in panels] == [True] * 6 + [False] * 2
    for panel, points in zip(panels, places, strict=False):
        drawn = [np.asarray(group.get_offsets()) for group in panel.collections]
        # background; cats, cats predicted as dogs; dogs, dogs predicted as cats
        assert [len(group) for group in drawn] == [2, 2, 1, 2, 0]
        assert np.allclose(drawn[2], points[2:3])
    names = [[text.get_text() for text in panel.texts] for panel in panels[:6]]
    assert names == [[]] * 5 + [["cat", "dog"]]
    assert panels[5].texts[0].get_position() == pytest.approx(np.median(places[5][:3], axis=0))
    title = figures[0].get_suptitle()
    assert "7 queries" in title and "predicted (1)" in title and "IoU < 0.5 (2)" in title
    with Image.open(tmp_path / "embedding.png") as image:
        assert image.width > image.height > 800


def test_too_few_queries_are_refused():
    with pytest.raises(DataError, match="9 queries are too few for t-SNE.*more images"):
        embed(torch.zeros(9, 4))
