"""The whole generator: where it crops, which anchors it replaces, what supervises it."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from stageinteractor.modeling.queries import AnchorGenerator, Probing

SIZES = torch.tensor([[128.0, 96.0], [64.0, 128.0]])  # height and width
PATCH_SIZE, CHANNELS, GLOBAL_ANCHORS, CROP_ANCHORS = 5, 2, 4, 3
TARGETS = [
    {"boxes": torch.tensor([[8.0, 8, 24, 20], [0, 40, 90, 120]]), "labels": torch.tensor([0, 1])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()},
]


def build(probing: Probing | None = None, **changes) -> AnchorGenerator:
    torch.manual_seed(0)
    sizes = dict(embed_dim=8, patch_size=PATCH_SIZE, channels=CHANNELS, hidden_dim=6)
    counts = dict(global_anchors=GLOBAL_ANCHORS, crop_anchors=CROP_ANCHORS, warmup_steps=0)
    return AnchorGenerator(
        **(sizes | counts | changes), probing=probing or Probing(patch_size=PATCH_SIZE)
    )


def maps(images: int = 2, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 8, 128 // s, 128 // s, generator=generator) for s in (4, 8, 16, 32)]


class FixedHead(nn.Module):
    """A head that predicts the same anchors whatever it sees: (score, cx, cy, w, h) of each."""

    def __init__(self, *patches: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.outputs = torch.tensor(patches)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        anchors = self.outputs.expand(len(vectors), -1, -1)
        return anchors[..., 0].logit(), anchors[..., 1:]


NOTHING = [0.01, 0.5, 0.5, 0.5, 0.5]


def small_objects_in_image_0() -> FixedHead:
    """Three unsure, small anchors in the first quarter of image 0, one sure anchor in image 1."""
    unsure = [[0.5 + 0.1 * i, 0.2 + 0.05 * i, 0.3, 0.2, 0.2] for i in (-1, 0, 1)]
    return FixedHead(
        [*unsure, NOTHING],  # of 48 x 64 pixels: anchors of 9.6 x 12.8
        *[[NOTHING] * 4] * 3,
        *[[NOTHING] * 4] * 4,
        [NOTHING] * 4,
        [[0.9, 0.5, 0.5, 0.8, 0.8], *[NOTHING] * 3],
    )


def test_published_number_of_parameters():
    actual = sum(x.numel() for x in AnchorGenerator().parameters())
    heads = 2 * 2_802_000 + 1001 * (250 + 100)
    assert actual == heads + 3 * (42_120 + 5_400) + 584  # 6.1 M


def test_training_predicts_in_every_kind_of_patch():
    generator = build().train()
    result = generator(maps(), SIZES, TARGETS)
    actual = result.predictions
    assert actual.num_gt == 2
    assert actual.quarters.logits.shape == (8, GLOBAL_ANCHORS) and actual.whole.boxes.shape == (
        8,
        GLOBAL_ANCHORS,
        4,
    )
    assert actual.crops.logits.shape[1:] == (CROP_ANCHORS,)
    assert len(actual.crops.logits) >= 2 * 2 * 4  # two levels, two images, four patches
    assert actual.quarters.gt.counts[4:] == actual.whole.gt.counts[4:] == [0] * 4
    assert sum(actual.quarters.gt.counts) == 2 and actual.whole.gt.counts[:4] == [2] * 4
    counts = torch.bincount(result.anchors.images, minlength=2)
    assert (counts >= 5).all() and (counts <= 200).all()
    assert not result.anchors.boxes.requires_grad


def test_everything_learns():
    generator = build().train()
    actual = generator(maps(), SIZES, TARGETS).predictions
    for part in (actual.quarters, actual.whole, actual.crops):
        assert ((part.boxes >= -1) & (part.boxes <= 2)).all()
    values = [(p.logits.square().sum() + p.boxes.square().sum()) for p in actual[:3]]
    sum(values).backward()
    assert all(x.grad is not None and x.grad.any() for x in generator.parameters())


def test_an_image_without_small_objects_stops_early():
    generator = build(Probing(patch_size=PATCH_SIZE, min_anchors=1)).eval()
    generator.head = small_objects_in_image_0()
    result = generator(maps(), SIZES)
    assert result.predictions is None
    # the three lie within 5 pixels: one crop of P4, and none of P3 unless it finds them again
    assert result.num_crops(2)[:, 0].tolist() == [1, 0]
    assert result.num_crops(2)[1].tolist() == [0, 0]
    scores = result.anchors.scores[result.anchors.images == 1]
    torch.testing.assert_close(scores, torch.tensor([0.9]))


def test_unsure_anchors_are_replaced_by_those_of_crops():
    generator = build(Probing(patch_size=PATCH_SIZE, min_anchors=1)).eval()
    generator.head = small_objects_in_image_0()
    generator.finer_head = FixedHead(
        [[0.8, 0.5, 0.25, 0.5, 0.5], [0.01] * 5, [0.05, 0.5, 0.5, 0.5, 0.5]]
    )
    result = generator(maps(), SIZES)
    assert result.num_crops(2).tolist() == [[1, 0], [0, 0]]  # at P3 nothing is unsure any more
    mine = result.anchors.images == 0
    # all of the fixed patches' are replaced, so that the best of the others stands in: at least one
    torch.testing.assert_close(result.anchors.scores[mine], torch.tensor([0.01, 0.8]))
    # the best anchor: 0.25 * 48 = 12, 0.3 * 64 = 19.2; 12 / 16 - 2.5 < 0, 19.2 / 16 - 2.5 < 0:
    # the crop begins at (0, 0) and is 80 x 80 pixels
    box = torch.tensor([[20.0, 0, 60, 40]])
    torch.testing.assert_close(result.anchors.boxes[mine][1:], box)


def test_probing_goes_on_where_small_anchors_stay_unsure():
    generator = build(Probing(patch_size=PATCH_SIZE, min_anchors=1)).eval()
    generator.head = small_objects_in_image_0()
    # of 80 pixels: 12 x 12, at 16 and at 64, so that P3 has two crops of 40
    generator.finer_head = FixedHead(
        [[0.5, 0.2, 0.2, 0.15, 0.15]] * 2 + [[0.4, 0.8, 0.8, 0.15, 0.15]]
    )
    result = generator(maps(), SIZES)
    assert result.num_crops(2).tolist() == [[1, 2], [0, 0]]
    # what P3 finds is put out, sure or not: three of each crop; and one of the fixed patches
    assert (result.anchors.images == 0).sum() == 1 + 2 * 3


def test_warmup_crops_around_gt_and_replaces_nothing():
    generator = build(Probing(patch_size=PATCH_SIZE, min_anchors=1), warmup_steps=2).train()
    generator.head = FixedHead(*[[[0.5, 0.2 + 0.1 * i, 0.3, 0.2, 0.2] for i in range(4)]] * 16)
    for step in range(2):
        assert generator.steps == step
        result = generator(maps(), SIZES, TARGETS)
        # the object of 16 x 12 is small at P4 (40 pixels) and at P3 (20)
        assert result.num_crops(2).tolist() == [[1, 1], [0, 0]]
        counts = torch.bincount(result.anchors.images)
        # 5 fixed patches of 4 anchors, 2 crops of at most 3
        assert 20 <= counts[0] <= 26 and counts[1] == 20
    result = generator(maps(), SIZES, TARGETS)
    assert (result.num_crops(2)[:, 0] > 0).all()


def test_the_number_of_anchors_is_limited():
    generator = build(
        Probing(patch_size=PATCH_SIZE, min_anchors=7, max_anchors=9, keep=0.999)
    ).eval()
    assert torch.bincount(generator(maps(), SIZES).anchors.images).tolist() == [7, 7]
    generator.probing = Probing(
        patch_size=PATCH_SIZE, min_anchors=7, max_anchors=9, keep=0.0, low=1, high=1
    )
    assert torch.bincount(generator(maps(), SIZES).anchors.images).tolist() == [9, 9]


@pytest.mark.parametrize("size", [(1.0, 1.0), (1.0, 128.0), (128.0, 3.0)])
def test_small_and_thin_images_have_anchors(size: tuple[float, float]):
    generator = build()
    sizes = torch.tensor([size])
    targets = [{"boxes": torch.tensor([[0.0, 0, 1, 1]]), "labels": torch.tensor([0])}]
    for result in (generator.train()(maps(1), sizes, targets), generator.eval()(maps(1), sizes)):
        assert len(result.anchors.scores) >= 5
        assert result.anchors.boxes.isfinite().all()
        assert (result.anchors.boxes[:, 2:] > result.anchors.boxes[:, :2]).all()


def test_in_training_one_unsure_anchor_is_replaced():
    generator = build().train()
    generator.head = FixedHead(
        *[[[0.5, 0.2, 0.3, 0.2, 0.2], *[NOTHING] * 3]], *[[NOTHING] * 4] * 15
    )
    generator.finer_head = FixedHead([NOTHING] * 3)
    assert generator(maps(), SIZES, TARGETS).num_crops(2).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("levels", ["P5-P6", "P4-P6", "P3-P6"])
def test_an_image_has_enough_anchors_wherever_probing_stops(levels: str):
    generator = build(
        Probing(patch_size=PATCH_SIZE, keep=0.999, min_anchors=7), probing_levels=levels
    ).eval()
    assert torch.bincount(generator(maps(), SIZES).anchors.images).tolist() == [7, 7]


def far_apart() -> list[dict[str, Tensor]]:
    """Nine small objects in image 0; crops of 40 pixels around them do not meet."""
    corners = [(x, y) for x in (2.0, 46, 88) for y in (2.0, 60, 120)]
    boxes = torch.tensor([[x, y, x + 4, y + 4] for x, y in corners])
    return [{"boxes": boxes, "labels": torch.zeros(9).long()}, TARGETS[1]]


def test_all_object_patches_are_used_in_the_first_epoch():
    generator = build(warmup_steps=1).train()
    result = generator(maps(), SIZES, far_apart())
    assert result.num_crops(2)[0, 1] == 9


def test_after_warmup_four_object_patches_are_used():
    generator = build().train()
    generator.head = FixedHead(*[[NOTHING] * 4] * 16)
    generator.finer_head = FixedHead([NOTHING] * 3)
    result = generator(maps(), SIZES, far_apart())
    assert not result.num_crops(2).any()
    assert len(result.predictions.crops.logits) == 2 * 2 * 4  # levels, images


def test_large_objects_are_targets_of_whole_images_not_crops():
    generator = build().train()
    whole = torch.tensor([[0.0, 0, 96, 128]])
    actual = generator(
        maps(), SIZES, [{"boxes": whole, "labels": torch.zeros(1).long()}, TARGETS[1]]
    ).predictions
    assert actual.whole.gt.counts == [1] * 4 + [0] * 4
    assert sum(actual.quarters.gt.counts) == 1
    assert sum(actual.crops.gt.counts) == 0


def test_what_lies_beyond_an_image_is_not_read():
    generator = build(Probing(patch_size=PATCH_SIZE, max_crops=99, low=0.0, high=1.0)).eval()
    unsure = [[0.5, 0.2 + 0.2 * i, 0.5, 0.1, 0.1] for i in range(4)]
    generator.head = FixedHead(*[unsure] * 10)
    sizes = torch.tensor([[40.0, 128.0], [128.0, 40.0]])
    features, changed = maps(), maps()
    for x, stride in zip(changed, (4, 8, 16, 32), strict=True):
        end = -(-40 // stride) + 1  # the second convolution sees one cell more
        x[0, :, end:], x[1, :, :, end:] = 9.0, 9.0
    actual = generator(features, sizes)
    assert actual.num_crops(2)[:, 0].all()
    torch.testing.assert_close(generator(changed, sizes).anchors, actual.anchors)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="probing_levels"):
        build(probing_levels="P2-P6")
    with pytest.raises(ValueError, match="5 cells here and 15 in probing"):
        build(Probing())
    with pytest.raises(ValueError, match="targets"):
        build().train()(maps(), SIZES)
