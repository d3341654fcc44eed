"""What finding queries costs, on a narrow model: anchors and patches are those the cases say."""

import pytest
import torch

from benchmarks import anchors
from benchmarks.report import anchor_table
from stageinteractor.modeling.anchors.anchor_head import AnchorHead


@pytest.fixture
def rows(monkeypatch) -> dict[str, anchors.AnchorRow]:
    """All rows, of narrow maps of a smaller image."""
    monkeypatch.setattr(anchors, "WIDTH", 16)
    monkeypatch.setattr(anchors, "IMAGE", (500, 768))
    monkeypatch.setattr(anchors, "PADDED", (512, 768))
    return {row.name: row for row in anchors.anchor_rows(repeats=2)}


def test_probing_keeps_the_number_of_queries(rows):
    assert {name: (row.queries, row.crops) for name, row in rows.items()} == {
        "learned queries": (100, None),
        "anchors, no patch probed": (100, (0, 0)),
        "anchors, 5 patches of a level": (100, (5, 5)),
        "relation block": (100, None),
        "decoder of one stage": (100, None),
    }


def test_times_are_shares_of_the_decoder_of_the_same_run(rows):
    decoder = rows["decoder of one stage"]
    assert decoder.decoders == 1
    for row in rows.values():
        assert row.milliseconds > 0
        assert row.decoders == row.milliseconds / decoder.milliseconds


def test_the_published_size_has_the_same_patches():
    """Their places follow from the image's size alone, so that flat maps are enough."""
    maps = [torch.zeros(1, anchors.WIDTH, 800 // s, 1344 // s) for s in anchors.STRIDES]
    actual, crops = anchors.generated(
        anchors.generator_of(anchors.CASES[1]), maps, torch.tensor([[800.0, 1333.0]])
    )
    assert crops == (5, 5) and actual.shape == (100, 4)


def test_a_head_can_be_set_to_constant_predictions():
    head = AnchorHead(in_features=8, num_anchors=4, hidden_dim=6)
    anchors.predict(head, sure=1, unsure=2)
    logits, boxes = head(torch.randn(3, 8))
    assert torch.equal(logits, torch.tensor([3.0, 0.0, 0.0, -5.0]).expand(3, 4))
    size = torch.tensor(-2.5).sigmoid()  # 0.076
    assert torch.equal(boxes, torch.stack([0 * size + 0.5] * 2 + [size] * 2).expand(3, 4, 4))


def test_the_table_has_a_line_for_every_row():
    row = anchors.AnchorRow("anchors", 100, (5, 4), 30.0, 0.25)
    other = anchors.AnchorRow("learned", 90, None, 1.0, 0.008)
    *_, first, second = anchor_table([row._asdict(), other._asdict()]).splitlines()
    assert first.split() == ["anchors", "100", "5", "4", "30", "0.250"]
    assert second.split() == ["learned", "90", "1", "0.008"]
