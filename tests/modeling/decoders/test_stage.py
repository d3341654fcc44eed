import pytest
import torch
from torch import Tensor, nn

from stageinteractor.modeling.attention import IoFBiasedSelfAttention
from stageinteractor.modeling.decoders.stage import DecoderStage, StageState
from stageinteractor.modeling.mixing.dynamic import DynamicMixing, FilterBank
from stageinteractor.modeling.sampling.points import GroupedSampler

BANK = FilterBank((torch.zeros(1),), torch.ones(1))


class DoubledAttention(nn.Module):
    def forward(self, content: Tensor, boxes: Tensor) -> Tensor:
        return 2 * content + boxes[..., :1]


class ContentSampler(nn.Module):
    def forward(self, maps: list[Tensor], content: Tensor, boxes: Tensor):
        return content * maps[0], maps


class SampledMixing(nn.Module):
    def forward(self, sampled: Tensor, content: Tensor, bank: FilterBank):
        return sampled - content, FilterBank((*bank.channel, content), sampled)


def stub_stage(randomise) -> DecoderStage:
    parts = dict(attention=DoubledAttention(), sampler=ContentSampler(), mixing=SampledMixing())
    stage = DecoderStage(**parts, embed_dim=8, feedforward_dim=12, num_classes=3)
    return randomise(stage).double()


def build(num_classes: int = 3) -> DecoderStage:
    torch.manual_seed(0)
    sizes = dict(embed_dim=32, num_groups=2, point_groups=2, points_per_group=2)
    return DecoderStage(
        attention=IoFBiasedSelfAttention(embed_dim=32, num_heads=4),
        sampler=GroupedSampler(**sizes),
        mixing=DynamicMixing(**sizes, out_points=6),
        embed_dim=32,
        feedforward_dim=48,
        num_classes=num_classes,
    )


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * norm.weight + norm.bias


def test_parts_follow_each_other_with_residuals_and_norms(randomise, make_queries):
    stage = stub_stage(randomise)
    content, boxes = make_queries(width=8, dtype=torch.float64)
    scale = torch.tensor(3.0, dtype=torch.float64)
    actual, after = stage(StageState([scale], content, boxes, bank=BANK))
    attended = layer_norm(2 * content + boxes[..., :1], stage.attention_norm)
    mixed = layer_norm(attended + (3 * attended - attended), stage.mixing_norm)
    hidden = stage.ffn[0](mixed).clamp(min=0)
    expected = layer_norm(mixed + stage.ffn[2](hidden), stage.ffn_norm)
    torch.testing.assert_close(actual.content, expected)
    torch.testing.assert_close(after.bank.channel[1], attended)
    torch.testing.assert_close(after.bank.spatial, 3 * attended)
    assert after.bank.channel[0] is BANK.channel[0]


def test_heads_read_the_new_content(randomise, make_queries):
    stage = stub_stage(randomise)
    content, boxes = make_queries(width=8, dtype=torch.float64)
    actual, _ = stage(StageState([torch.ones(1).double()], content, boxes, bank=BANK))

    def head(layers: nn.Sequential) -> Tensor:
        hidden = layer_norm(layers[0](actual.content), layers[1]).clamp(min=0)
        return hidden @ layers[3].weight.T + layers[3].bias

    torch.testing.assert_close(actual.logits, head(stage.class_head))
    deltas = head(stage.box_head)
    size = torch.exp2(boxes[..., 2:3] + boxes[..., 3:] * torch.tensor([-0.5, 0.5]))
    expected = boxes + torch.cat([deltas[..., :2] * size, deltas[..., 2:]], dim=-1)
    torch.testing.assert_close(actual.boxes_xyzr, expected)


def test_boxes_carry_the_gradient_of_their_refinement_only(randomise, make_maps, make_queries):
    stage = randomise(build())
    content, boxes = make_queries()
    prediction, after = stage(StageState(make_maps(), content, boxes))
    assert torch.equal(after.boxes_xyzr, prediction.boxes_xyzr)
    assert not after.boxes_xyzr.requires_grad
    prediction.boxes_xyzr.sum().backward()
    assert stage.box_head[3].weight.grad.abs().sum() > 0
    assert stage.ffn[0].weight.grad.abs().sum() > 0
    assert stage.class_head[3].weight.grad is None


def test_gradient_is_the_numerical_one(randomise, make_queries):
    stage = stub_stage(randomise)
    content, boxes = make_queries(images=1, queries=2, width=8, dtype=torch.float64)
    maps = [torch.ones(1).double()]

    def run(content: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return stage(StageState(maps, content, boxes, bank=BANK))[0]

    assert torch.autograd.gradcheck(run, (content.requires_grad_(), boxes.requires_grad_()))


def test_content_of_another_width_is_refused(make_maps, make_queries):
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        build()(StageState(make_maps(), *make_queries(width=24)))
