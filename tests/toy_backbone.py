"""A backbone of one convolution a level, for detectors that tests train."""

from torch import Tensor, nn


class ToyBackbone(nn.Module):
    """Maps of 8 channels, from a given one to res5; each has twice the stride of the one before.

    Args:
        first: number of the first map's name; res2 has the stride 4.
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
