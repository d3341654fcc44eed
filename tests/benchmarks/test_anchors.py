"""What finding queries costs, on a narrow model: anchors and patches are those the cases say."""

import pytest
import torch

from benchmarks import anchors


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
