"""A backbone of one convolution per level, for detectors trained in tests."""

from torch import Tensor, nn


class ToyBackbone(nn.Module):
    """Returns maps of 8 channels up to res5, each with twice the stride of the one before.

    Args:
        first: number of the first map, 2 for res2, whose stride is 4.
    """

    def __init__(self, first: int = 2) -> None:
        super().__init__()
        self.first = first
        stride = 2**first
        stem = nn.Conv2d(3, 8, stride + 1, stride=stride, padding=stride // 2)
        halving = (nn.Conv2d(8, 8, 5, stride=2, padding=2) for _ in range(5 - first))
        self.convs = nn.ModuleList([stem, *halving])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        for level, conv in enumerate(self.convs):
            images = conv(images).relu()
            maps[f"res{level + self.first}"] = images
        return maps
