"""Deformable DETR's encoder and decoder layers as neck and stages: shapes, values, gradients."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stageinteractor
from stageinteractor.errors import MissingDependencyError
from stageinteractor.modeling import (
    CascadeDecoder,
    Queries,
)
from stageinteractor.modeling.decoders.deformable import (
    DeformableStage,
)
from stageinteractor.modeling.decoders.stage import StageState
from stageinteractor.modeling.necks.deformable_encoder import (
    DeformableEncoder,
    flattened,
    unflattened,
)

CONFIG = Path(stageinteractor.__file__).parent / "configs/asag_d_r50_crop_3x.py"
STRIDES = (8, 16, 32, 64)
SIZES = dict(num_heads=4, feedforward_dim=48, points=2)
QUERY_MASK = torch.tensor([[True, True, False, True, False], [True] * 5])
DOUBLE = torch.float64
WITHOUT_EFFECT = "self_attn.k_proj.bias"  # adds the same to all keys of a query


def build_neck(**changes: Any) -> DeformableEncoder:
    torch.manual_seed(0)
    arguments = dict(in_channels=(8, 8, 8), out_channels=32, num_layers=2, num_groups=4)
    return DeformableEncoder(**(arguments | SIZES | changes))


def build_stages(num_stages: int = 3) -> list[DeformableStage]:
    torch.manual_seed(0)
    return [DeformableStage(embed_dim=32, num_classes=3, **SIZES) for _ in range(num_stages)]


def build_decoder(checkpoint_stages: bool = False) -> CascadeDecoder:
    return CascadeDecoder(build_stages(), checkpoint_stages)


def backbone_maps(height: int = 64, width: int = 96) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"res{3 + level}": torch.randn(2, 8, height // s, width // s, generator=generator)
        for level, s in enumerate(STRIDES[:3])
    }


def make_maps(width: int = 32) -> list[Tensor]:
    """P3 to P6 of 64 x 96 pixels, of which P6 covers 64 x 128."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, width, 64 // s, -(-96 // s), generator=generator, dtype=DOUBLE)
        for s in STRIDES
    ]


def make_queries(width: int = 32) -> Queries:
    generator = torch.Generator().manual_seed(2)
    content = torch.randn(2, 5, width, generator=generator, dtype=DOUBLE)
    noise = torch.rand(2, 5, 4, generator=generator, dtype=DOUBLE)
    spread = torch.tensor([40.0, 30.0, 2.0, 1.0])
    return Queries(content, torch.tensor([28.0, 17.0, 4.0, -0.5]) + noise * spread)


def ramps(shapes: list[tuple[int, int]], width: int) -> list[Tensor]:
    """Maps whose first two channels say where in the image, in pixels, a cell lies."""
    maps = []
    for (rows, columns), stride in zip(shapes, STRIDES, strict=True):
        ramp = torch.zeros(1, width, rows, columns)
        ramp[:, 0] = (torch.arange(columns) + 0.5) * stride
        ramp[:, 1] = ((torch.arange(rows) + 0.5) * stride)[:, None]
        maps.append(ramp)
    return maps


def read_at_the_reference(attention: nn.Module) -> list[Tensor]:
    """Let deformable attention return the mean, over the levels, of what lies at the reference."""
    with torch.no_grad():
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            layer = getattr(attention, name)
            layer.weight.zero_()
            layer.bias.zero_()
            if layer.out_features == layer.in_features and name.endswith("proj"):
                nn.init.eye_(layer.weight)
    actual: list[Tensor] = []
    attention.register_forward_hook(lambda module, args, output: actual.append(output[0]))
    return actual


def test_encoder_cells_read_their_own_place_in_all_levels():
    """P6 has 3 x 3 cells of 64 pixels for 160 x 160: they must not be squeezed into the image."""
    neck = build_neck(num_layers=1)
    shapes = [(20, 20), (10, 10), (5, 5), (3, 3)]
    for index, ramp in enumerate(ramps(shapes, width=32)):
        neck.projections[index] = Constant(ramp)
    (layer,) = neck.encoder.layers
    actual = read_at_the_reference(layer.self_attn)
    neck(backbone_maps(160, 160))
    first, second, *_ = actual[0].mT.split([size[0] * size[1] for size in shapes], dim=-1)
    for maps, side, stride in ((first, 20, 8), (second, 10, 16)):
        across = maps[0, 0].view(side, side)
        down = maps[0, 1].view(side, side)
        expected = (torch.arange(side) + 0.5) * stride
        inner = (expected > 32) & (expected < 128)  # all levels have cells on both sides
        torch.testing.assert_close(across[inner][:, inner], expected[inner].expand(inner.sum(), -1))
        torch.testing.assert_close(
            down[inner][:, inner], expected[inner].expand(inner.sum(), -1).mT
        )


class Constant(nn.Module):
    """Gives the same map for every image."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, features: Tensor) -> Tensor:
        return self.output.expand(len(features), -1, -1, -1)


def test_maps_are_laid_out_cell_after_cell():
    maps = [torch.arange(6.0).view(1, 1, 2, 3), 10 + torch.arange(2.0).view(1, 1, 1, 2)]
    flat = flattened(maps, (8, 16))
    assert flat.values.flatten().tolist() == [0, 1, 2, 3, 4, 5, 10, 11]
    assert flat.shapes == ((2, 3), (1, 2))
    assert flat.sizes.tolist() == [[24, 16], [32, 16]]
    for actual, expected in zip(unflattened(flat.values, flat.shapes), maps, strict=True):
        assert torch.equal(actual, expected)


def test_queries_read_where_their_box_lies_in_all_levels():
    stage = DeformableStage(embed_dim=8, num_classes=3, **SIZES)
    actual = read_at_the_reference(stage.layer.encoder_attn)
    maps = ramps([(20, 20), (10, 10), (5, 5), (3, 3)], width=8)
    boxes = torch.tensor([[[100.0, 70.0, 5.0, 0.0], [64.0, 90.0, 3.0, 1.0]]])
    stage(StageState(flattened(maps, STRIDES), torch.randn(1, 2, 8), boxes))
    torch.testing.assert_close(actual[0][..., :2], boxes[..., :2])


def test_points_begin_on_a_ring_in_the_box():
    layer = DeformableStage(embed_dim=32, num_classes=3, **SIZES).layer
    assert not layer.encoder_attn.sampling_offsets.weight.any()
    assert not layer.encoder_attn.attention_weights.weight.any()
    offsets = layer.encoder_attn.sampling_offsets.bias.view(4, 4, 2, 2)  # heads, levels, points
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    for point in range(2):
        for level in range(4):
            actual = offsets[:, level, point]
            torch.testing.assert_close(actual, (point + 1) * expected, rtol=0, atol=1e-6)


def test_a_decoder_gives_what_it_gives_without_padding(randomise):
    decoder = randomise(build_decoder().double())
    maps, queries = make_maps(), make_queries()
    actual = decoder(maps, queries._replace(query_mask=QUERY_MASK))
    real = Queries(queries.content[:1, QUERY_MASK[0]], queries.boxes[:1, QUERY_MASK[0]])
    alone = decoder([x[:1] for x in maps], real)
    together = decoder(maps, queries)
    assert actual.query_mask is QUERY_MASK
    for padded, expected, without_mask in zip(actual[:4], alone[:4], together[:4], strict=True):
        torch.testing.assert_close(padded[:, :1, QUERY_MASK[0]], expected)
        assert (
            padded[:, :1, QUERY_MASK[0]] - without_mask[:, :1, QUERY_MASK[0]]
        ).abs().max() > 1e-3


def test_attention_can_be_masked_pair_by_pair(randomise):
    (stage,) = (randomise(stage.double()) for stage in build_stages(1))
    (content, boxes, *_), flat = make_queries(), flattened(make_maps(), STRIDES)
    attn_mask = torch.ones(2, 5, 5, dtype=torch.bool)
    attn_mask[:, :3, 3:] = False  # the first three do not see the last two
    actual, _ = stage(StageState(flat, content, boxes, attn_mask))
    first, _ = stage(StageState(flat, content[:, :3], boxes[:, :3]))
    everyone, _ = stage(StageState(flat, content, boxes))
    torch.testing.assert_close(actual.content[:, :3], first.content)
    torch.testing.assert_close(actual.content[:, 3:], everyone.content[:, 3:])


def test_autocast_leaves_boxes_and_positions_in_float32(randomise):
    neck, decoder = randomise(build_neck()), build_decoder()
    content, boxes = (x.float() for x in make_queries()[:2])
    seen: list[Tensor] = []
    neck.encoder.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(inputs["spatial_position_embeddings"]), with_kwargs=True
    )
    neck(backbone_maps())
    with torch.autocast("cpu", torch.bfloat16):
        actual = decoder(neck(backbone_maps()), Queries(content, boxes))
    assert torch.equal(seen[1], seen[0])
    assert torch.equal(actual.boxes_xyzr, boxes.expand(3, -1, -1, -1))
    assert actual.logits.isfinite().all()


def test_names_and_channels_must_agree():
    with pytest.raises(ValueError, match="in_features"):
        build_neck(in_channels=(8, 8))


@pytest.mark.parametrize("build", [build_neck, build_decoder])
def test_error_without_transformers_names_the_extra(monkeypatch, build):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match="pip install 'transformers"):
        build()


def test_transformers_is_imported_only_to_build_its_layers():
    code = (
        "import sys, stageinteractor.modeling, stageinteractor.modeling.decoders.deformable\n"
        "from stageinteractor.config import load_config\n"
        f"load_config({str(CONFIG)!r})\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stages_run_again_for_the_backward_pass_give_the_same(randomise):
    gradients = []
    for again in (False, True):
        decoder = randomise(build_decoder(checkpoint_stages=again).double()).train()
        decoder(make_maps(), make_queries()).logits.square().sum().backward()
        gradients.append([x.grad for x in decoder.parameters()])
    for actual, expected in zip(*gradients, strict=True):
        assert torch.equal(actual, expected) if actual is not None else expected is None
