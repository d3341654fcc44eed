import pytest
import torch

from stageinteractor.modeling import LearnedQueries
from stageinteractor.modeling.box_coding import xyzr_to_xyxy

SIZES = torch.tensor([[32.0, 128.0], [64.0, 64.0]])  # height and width


def build() -> LearnedQueries:
    torch.manual_seed(0)
    return LearnedQueries(num_queries=3, embed_dim=8)


def test_boxes_cover_the_whole_image():
    boxes = build()(SIZES).boxes
    # 32 x 128: z = log2 sqrt(4096) = 6, r = log2(32 / 128) = -2; 64 x 64: z = 6, r = 0
    assert boxes[:, 0].tolist() == [[64.0, 16.0, 6.0, -2.0], [32.0, 32.0, 6.0, 0.0]]
    assert (boxes == boxes[:, :1]).all()
    assert xyzr_to_xyxy(boxes[0, 2]).tolist() == [0.0, 0.0, 128.0, 32.0]


def test_content_is_the_normalised_table_for_every_image():
    queries = build()
    content = queries(SIZES).content
    table = queries.content.weight
    centred = table - table.mean(dim=1, keepdim=True)
    expected = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(content[0], expected)
    assert torch.equal(content[0], content[1])


def test_gradient_is_the_numerical_one():
    queries = build().double()

    def content(weight: torch.Tensor) -> torch.Tensor:
        weights = {"content.weight": weight}
        return torch.func.functional_call(queries, weights, (SIZES.double(),)).content

    weight = queries.content.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(content, weight)


def test_sizes_of_a_wrong_shape_are_refused():
    with pytest.raises(RuntimeError, match="must match"):
        build()(torch.ones(2, 3))
