import torch
import torch.nn.functional as F
from torch import nn

from stageinteractor.modeling.anchors.anchor_head import (
    AnchorHead,
    Compress,
    PatchEmbedding,
    WholeImage,
)
from stageinteractor.modeling.anchors.patch_features import cut_crops


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_as_many_as_published():
    # 1800 x 1000 + 1000 + 1000 x 1000 + 1000 = 2,802,000, and (1000 + 1) x 5 n
    assert count(AnchorHead(num_anchors=50)) == 2_802_000 + 1001 * 250  # 3.05 M
    assert count(AnchorHead(num_anchors=20)) == 2_802_000 + 1001 * 100  # 2.90 M
    assert count(PatchEmbedding()) == 3 * 225 * 8  # weight, bias, position
    assert count(Compress()) == 256 * 128 + 128 + 128 * 8 * 9 + 8
    assert count(WholeImage()) == 8 * 8 * 9 + 8


def test_shapes():
    assert Compress(embed_dim=16, channels=2)(torch.zeros(2, 16, 5, 7)).shape == (2, 2, 5, 7)
    for patch_size in (5, 15):
        assert WholeImage()(torch.zeros(2, 8, 2 * patch_size, 2 * patch_size)).shape == (
            2,
            8,
            patch_size,
            patch_size,
        )
    assert PatchEmbedding(patch_size=3, channels=2)(torch.zeros(4, 2, 3, 3)).shape == (4, 18)
    logits, boxes = AnchorHead(in_features=18, num_anchors=7, hidden_dim=6)(torch.zeros(4, 18))
    assert logits.shape == (4, 7)
    assert boxes.shape == (4, 7, 4)
    logits, boxes = AnchorHead(in_features=18, num_anchors=7, hidden_dim=6)(torch.zeros(0, 18))
    assert logits.shape == (0, 7)
    assert boxes.shape == (0, 7, 4)


def test_crops_equal_those_cut_out_of_the_reduced_map():
    compress = Compress(embed_dim=6, channels=2).double()
    features = torch.randn(2, 6, 5, 7, dtype=torch.double)
    images = torch.tensor([0, 1, 1])
    corners = torch.tensor([[0, 0], [4, 2], [2, 1]])  # two at the edges of the map
    actual = compress.crops(features, images, corners, 3)
    torch.testing.assert_close(actual, cut_crops(compress(features), images, corners, 3))
    assert compress.crops(features, images[:0], corners[:0], 3).shape == (0, 2, 3, 3)


def test_cells_and_channels_are_normalised_together():
    embedding = PatchEmbedding(patch_size=2, channels=2)
    assert not embedding.position.any()
    # channel 0 is 0 everywhere and channel 1 is 2: mean 1, deviation 1
    patch = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    torch.testing.assert_close(embedding(patch), torch.tensor([[-1.0, 1] * 4]), atol=1e-5, rtol=0)


def test_five_numbers_are_centre_size_and_logit():
    head = AnchorHead(in_features=3, num_anchors=2, hidden_dim=4)
    last = head.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    logits, boxes = head(torch.randn(1, 3))
    assert logits.tolist() == [[4.0, 9.0]]
    torch.testing.assert_close(boxes[0, 0], torch.tensor([0.0, 1, 2, 3]).sigmoid())


def test_the_coarse_level_sees_every_other_cell_after_the_relu():
    coarse = WholeImage(channels=1)
    with torch.no_grad():
        coarse[1].weight.fill_(1.0)
        coarse[1].bias.zero_()
    x = torch.randn(1, 1, 6, 6)
    actual = coarse(x)
    # cells -2, 0 and 2 around the first, and padding is zero
    torch.testing.assert_close(actual[0, 0, 0, 0], F.relu(x[0, 0, :4:2, :4:2]).sum())
    torch.testing.assert_close(actual[0, 0, 2, 2], F.relu(x[0, 0, 2::2, 2::2]).sum())


def test_weights_are_xaviers():
    head = AnchorHead(in_features=50, num_anchors=10, hidden_dim=150)
    bound = (6 / (50 + 150)) ** 0.5
    assert 0.95 * bound < head.layers[0].weight.abs().max() <= bound


def test_gradient_is_the_numerical_one():
    torch.manual_seed(0)
    parts = nn.Sequential(
        Compress(embed_dim=4, channels=2),
        WholeImage(channels=2),
        PatchEmbedding(patch_size=2, channels=2),
        AnchorHead(in_features=8, num_anchors=2, hidden_dim=3),
    ).double()
    features = torch.randn(1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: parts(x), (features,))
