"""Random predictions and objects."""

from collections.abc import Callable, Sequence

import pytest
import torch

Case = tuple[torch.Tensor, torch.Tensor, list[dict[str, torch.Tensor]], torch.Tensor]


@pytest.fixture
def make_case() -> Callable[..., Case]:
    """Logits, boxes, objects and image sizes in float64; queries lie near objects if there are."""

    def build(
        queries: int, counts: Sequence[int], stages: int = 4, classes: int = 3, seed: int = 0
    ) -> Case:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64)

        low = draw(len(counts), max(*counts, 1), 2) * 40
        objects = torch.cat([low, low + 10 + 30 * draw(*low.shape)], dim=-1)
        near = torch.arange(queries) % objects.shape[1]
        boxes = objects[:, near] + 6 * draw(stages, len(counts), queries, 4) - 3
        labels = torch.randint(classes, objects.shape[:2], generator=generator)
        targets = [
            {"boxes": objects[image, :count], "labels": labels[image, :count]}
            for image, count in enumerate(counts)
        ]
        logits = 4 * draw(stages, len(counts), queries, classes) - 2
        return logits, boxes, targets, 60 + 40 * draw(len(counts), 2)

    return build
