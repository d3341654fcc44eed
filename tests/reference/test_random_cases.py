"""The package against the reference implementations, on random sizes, parameters and objects."""

import pytest
import torch
from reference import decoder as slow

from benchmarks.reference_criterion import ReferenceCriterion
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.checkpoint import to_mmdet_state_dict
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import LearnedQueries, StageInteractorDecoder

SIZES = [
    dict(embed_dim=16, num_groups=2, num_heads=4, point_groups=2, points_per_group=2, out_points=4),
    dict(embed_dim=24, num_groups=3, num_heads=8, point_groups=1, points_per_group=3, out_points=6),
]
OBJECTS = [(3, 1), (0, 6)]  # the second case: an image without, one with more than queries


def randomised(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return module.double()


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "counts"), list(zip(SIZES, OBJECTS, strict=True)))
def test_decoder_assigner_losses_and_gradients(sizes, counts):
    torch.manual_seed(sum(counts))
    extra = dict(feedforward_dim=12, num_classes=4, first_point_groups=2 * sizes["point_groups"])
    decoder = randomised(StageInteractorDecoder(**sizes, **extra))
    queries = randomised(LearnedQueries(num_queries=5, embed_dim=sizes["embed_dim"]))
    image_sizes = torch.tensor([[60.0, 90.0], [64.0, 70.0]]).double()
    maps = [torch.randn(2, sizes["embed_dim"], 64 // s, 96 // s).double() for s in slow.STRIDES]
    targets = []
    for count in counts:
        low = torch.rand(count, 2).double() * 40
        boxes = torch.cat([low, low + 5 + 20 * torch.rand(count, 2).double()], 1)
        targets.append({"boxes": boxes, "labels": torch.randint(4, (count,))})

    output = decoder(maps, queries(image_sizes))
    criterion = SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())
    losses = criterion(output.logits, output.boxes, targets, image_sizes)
    sum(losses.values()).backward()

    ours = {f"decoder.{n}": p for n, p in decoder.named_parameters()}
    ours |= {f"queries.{n}": p for n, p in queries.named_parameters()}
    leaves = {name: p.detach().clone().requires_grad_() for name, p in ours.items()}
    published = to_mmdet_state_dict(leaves)
    size = slow.Size(sizes["num_groups"], sizes["points_per_group"], sizes["num_heads"])
    per_image = []
    for image, (height, width) in enumerate(image_sizes.tolist()):
        own = [feature[image] for feature in maps]
        start = slow.initial_queries(published, height, width)
        per_image.append(slow.decode(published, own, *start, size))
    logits, boxes_xyzr, content = (torch.stack(parts, 1) for parts in zip(*per_image, strict=True))
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(output.boxes_xyzr, boxes_xyzr)
    torch.testing.assert_close(output.content, content)

    boxes = torch.stack([slow.corners(box) for box in boxes_xyzr.flatten(0, 2)])
    boxes = boxes.view_as(boxes_xyzr)
    expected = ReferenceCriterion(criterion)(logits, boxes, targets, image_sizes)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    sum(expected.values()).backward()
    for name, parameter in ours.items():
        gradient = leaves[name].grad
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-9)
