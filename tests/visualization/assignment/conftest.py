import numpy as np
import pytest
import torch

from stageinteractor.visualization.assignment import ImageAssignment


@pytest.fixture
def item() -> ImageAssignment:
    """Two objects, three queries, two stages; the first two queries change places.

    Query 0 keeps both labels at stage 1; query 1 loses its own at stage 0; query 2 has none.
    """
    objects = torch.tensor([[10.0, 10, 30, 30], [12.0, 10, 34, 32]])
    boxes = torch.tensor(
        [
            [[10.0, 10, 30, 30], [50.0, 40, 60, 48], [0.0, 0, 5, 5]],
            [[11.0, 10, 31, 30], [10.0, 10, 30, 30], [0.0, 0, 5, 5]],
        ]
    )
    scores = torch.full((2, 3, 4), 0.125)
    scores[0, 0, 3] = 0.5
    return ImageAssignment(
        name="a.png",
        picture=np.full((48, 64, 3), 90, dtype=np.uint8),
        object_boxes=objects,
        object_labels=torch.tensor([3, 1]),
        boxes=boxes,
        scores=scores,
        matches=torch.tensor([[0, 1, -1], [1, 0, -1]]),
        learnt=torch.tensor([[[0, -1], [-1, -1], [-1, -1]], [[1, 0], [0, -1], [-1, -1]]]),
        scope=torch.ones(2, 2, dtype=torch.bool),
    )
