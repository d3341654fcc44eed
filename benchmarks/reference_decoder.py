"""The reference implementation of the decoder: the published arrangement on a decoder's weights.

Inputs and results are those of `StageInteractorDecoder`. As published, there is one sampling per
level with products and sums between, two blends for every reused filter, an adapter layer whose
softmax over a single entry is always one, and a filter bank that keeps all filters of a stage and
its sampled features. Timed for ratios; attention, feed-forward network and heads are the decoder's
own modules, so that a ratio compares the arrangement alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stageinteractor.modeling.decoders.stage import DecoderStage
from stageinteractor.modeling.decoders.stageinteractor import StageInteractorDecoder
from stageinteractor.modeling.interface import DecoderOutput, Prediction, Queries, stacked
from stageinteractor.modeling.mixing.dynamic import DynamicMixing
from stageinteractor.modeling.mixing.reuse import ChannelReuse, SpatialReuse
from stageinteractor.modeling.mixing.static_mixing import StaticMixing
from stageinteractor.modeling.sampling.points import GroupedSampler, level_weights
from stageinteractor.modeling.sampling.reference import sample_levels


class BankEntry(NamedTuple):
    """The bank's entry of one stage."""

    channel: Tensor  # generated channel filter (M, Dc, Dc), M = B N G
    spatial: Tensor  # applied spatial filter (M, O, P)
    sampled: Tensor  # sampled features (M, P, Dc), unused


Bank = tuple[BankEntry, ...]


class ReferenceDecoder(nn.Module):
    """Run a decoder in the reference implementation.

    Args:
        decoder: with reuse and static mixing as published; its parameters are used, not copied.
    """

    def __init__(self, decoder: StageInteractorDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        stages: Any = decoder.stages
        self.scores = nn.ModuleList(_score_layers(stage.mixing) for stage in stages)

    def forward(self, features: Sequence[Tensor], queries: Queries) -> DecoderOutput:
        """Decode initial queries; arguments and result as those of our decoder."""
        predictions: list[Prediction] = []
        bank: Bank = ()
        content, boxes = queries.content, queries.boxes
        stages: Any = zip(self.decoder.stages, self.scores, strict=True)
        for stage, scores in stages:
            prediction, bank = run_stage(stage, scores, features, content, boxes, bank)
            predictions.append(prediction)
            content, boxes = prediction.content, prediction.boxes_xyzr.detach()
        return stacked(predictions, queries.query_mask)


def _score_layers(mixing: DynamicMixing) -> nn.ModuleList:
    """Return the layers, one for each reused filter, that have no effect on any number."""
    content, points = mixing.filters.in_features, mixing.num_groups * mixing.filter_shape[1]
    reuse: Any = mixing.channel_reuse
    count = 0 if reuse is None else reuse.num_reused
    layers = nn.ModuleList(nn.Linear(content, points) for _ in range(count))
    return layers.to(mixing.filters.weight)


def run_stage(
    stage: DecoderStage,
    scores: nn.ModuleList,
    features: Sequence[Tensor],
    content: Tensor,
    boxes_xyzr: Tensor,
    bank: Bank,
) -> tuple[Prediction, Bank]:
    """Return the stage's prediction and the bank."""
    content = stage.attention_norm(stage.attention(content, boxes_xyzr))
    sampler: Any = stage.sampler
    mixing: Any = stage.mixing
    sampled = sample(sampler, features, content, boxes_xyzr)
    mixed, bank = mix(mixing, scores, sampled, content, bank)
    content = stage.mixing_norm(content + mixed)
    content = stage.ffn_norm(content + stage.ffn(content))
    deltas = stage.box_head(content).to(boxes_xyzr.dtype)
    with torch.autocast(content.device.type, enabled=False):
        refined = stage.refine(boxes_xyzr, deltas)
    return Prediction(stage.class_head(content), refined, content), bank


def sample(
    sampler: GroupedSampler, features: Sequence[Tensor], content: Tensor, boxes_xyzr: Tensor
) -> Tensor:
    """Return the sampled features (M, P, Dc), one ``grid_sample`` for each level."""
    points = sampler.points(content, boxes_xyzr)
    weights = level_weights(points[..., 2], len(sampler.strides))
    sampled = sample_levels(features, points[..., :2], weights, sampler.strides)
    return sampled.flatten(0, 2)


def mix(
    mixing: DynamicMixing, scores: nn.ModuleList, x: Tensor, content: Tensor, bank: Bank
) -> tuple[Tensor, Bank]:
    """Return the mixed features (B, N, D) of sampled features (M, P, Dc), and the new bank."""
    area = mixing.width * mixing.width
    generated = mixing.filters(content).view(len(x), -1)
    channel = generated[:, :area].unflatten(1, (mixing.width, mixing.width))
    spatial = generated[:, area:].unflatten(1, mixing.filter_shape)
    biases = mixing.biases(content).view(len(x), -1)
    channel_bias, spatial_bias = biases.split([mixing.width, mixing.out_points], dim=-1)
    h = _norm_relu(torch.bmm(x, channel) + channel_bias.unsqueeze(1))
    reuses = isinstance(mixing.channel_reuse, ChannelReuse)
    if isinstance(mixing.channel_reuse, ChannelReuse):
        h = _mix_again(mixing.channel_reuse, scores, x, h, content, channel, bank)
    if mixing.spatial_reuse is not None:
        spatial = _complete(mixing.spatial_reuse, content, spatial, bank[-1].spatial)
    y = _norm_relu(torch.bmm(spatial, h) + spatial_bias.unsqueeze(2))
    mixed = mixing.out_proj(y.view(*content.shape[:2], -1))
    return mixed, (*(bank if reuses else ()), BankEntry(channel, spatial, x))


def _mix_again(
    reuse: ChannelReuse,
    scores: nn.ModuleList,
    x: Tensor,
    h: Tensor,
    content: Tensor,
    own: Tensor,
    bank: Bank,
) -> Tensor:
    """Return the features (M, P, Dc) after a channel mixing with each filter of the bank."""
    gates = reuse.gates(content).view(-1, reuse.width, 2, reuse.num_reused).sigmoid()
    biases = reuse.biases(content).view(-1, reuse.num_reused, reuse.width)
    steps: Any = zip(reuse.static, scores, bank, strict=True)
    z = x
    for step, (static, layer, entry) in enumerate(steps):
        score = layer(content).view(len(x), -1, 1).softmax(dim=-1)  # a single entry: all ones
        z = z * score + _mix_statically(static, h)
        column, row = gates[:, None, :, 0, step], gates[:, :, None, 1, step]
        channel = _blend(own, _blend(own, entry.channel, row), column)
        h = _norm_relu(torch.bmm(z, channel) + biases[:, step, None])
    return h


def _complete(reuse: SpatialReuse, content: Tensor, own: Tensor, previous: Tensor) -> Tensor:
    """Return the spatial filter (M, O, P): own rows, then own rows blended with earlier ones."""
    row = reuse.row_gates(content).view(-1, reuse.rows, 1).sigmoid()
    column = reuse.column_gates(content).view(-1, 1, reuse.points).sigmoid()
    blended = _blend(own, _blend(own, previous[:, : reuse.rows], row), column)
    return torch.cat([own, blended], dim=1)


def _mix_statically(static: StaticMixing, h: Tensor) -> Tensor:
    """Return what both static layers make of features (M, P, Dc)."""
    grid = h.unflatten(1, static.shape[:2])  # (M, K, J, Dc)
    within = static.within_group(grid.flatten(2)).view_as(grid)
    layer = static.across_groups
    across = F.linear(grid.transpose(1, 2).flatten(2), layer.weight, layer.bias)  # (M, J, K Dc)
    across = across.unflatten(2, (static.shape[0], static.shape[2])).transpose(1, 2)
    return (within + across).flatten(1, 2)


def _blend(own: Tensor, other: Tensor, gate: Tensor) -> Tensor:
    """Return own + gate (other - own), in two passes over the filter."""
    return torch.addcmul(own, gate, other - own)


def _norm_relu(x: Tensor) -> Tensor:
    """Normalise each plane (..., rows, columns) jointly, without parameters, then ReLU."""
    return F.relu(F.layer_norm(x, x.shape[-2:]))
