"""Stages that run again for their backward pass: the same results, less memory."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from stageinteractor.modeling import Queries
from stageinteractor.modeling.decoders.adamixer import AdaMixerDecoder, AdaMixerStage
from stageinteractor.modeling.decoders.cascade import CascadeDecoder
from stageinteractor.modeling.decoders.parallel import ParallelDecoder

ADAMIXER = dict(embed_dim=32, num_groups=2, num_heads=4, feedforward_dim=48, num_classes=3)


@pytest.fixture(params=["stageinteractor", "adamixer", "parallel"])
def decoder(request, make_decoder, randomise) -> CascadeDecoder:
    if request.param == "adamixer":
        return randomise(AdaMixerDecoder(num_stages=3, points=4, out_points=8, **ADAMIXER))
    if request.param == "parallel":
        stages = [AdaMixerStage(points=4, out_points=8, **ADAMIXER) for _ in range(3)]
        return randomise(ParallelDecoder(stages=stages, embed_dim=32))
    return randomise(make_decoder(num_stages=4))


def checkpointed_copy(decoder):
    actual = copy.deepcopy(decoder)
    getattr(actual, "decoder", actual).checkpoint_stages = True
    return actual


def step(decoder: CascadeDecoder, maps: list[Tensor], content: Tensor, boxes: Tensor):
    """Predictions, all gradients, and how many numbers were kept in between."""
    maps = [x.clone().requires_grad_() for x in maps]
    content = content.clone().requires_grad_()
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = decoder(maps, Queries(content, boxes))
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    (output.logits.float().square().sum() + output.boxes.square().mean()).backward()
    leaves: list[Any] = [*maps, content, *decoder.parameters()]
    return output, [leaf.grad for leaf in leaves], size


def test_values_and_gradients_are_the_same_and_less_is_kept(decoder, make_maps, make_queries):
    checkpointed = checkpointed_copy(decoder)
    expected, wanted_grads, whole = step(decoder, make_maps(), *make_queries())
    actual, grads, part = step(checkpointed, make_maps(), *make_queries())
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(grads, wanted_grads)
    assert part < 0.6 * whole


def test_under_autocast_stages_run_again_as_they_ran(decoder, make_maps, make_queries):
    checkpointed = checkpointed_copy(decoder)
    with torch.autocast("cpu", torch.bfloat16):
        expected, wanted_grads, _ = step(decoder, make_maps(), *make_queries())
        actual, grads, _ = step(checkpointed, make_maps(), *make_queries())
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(grads, wanted_grads)


def test_stages_run_once_at_inference(make_decoder, make_maps, make_queries):
    decoder = make_decoder(num_stages=2, checkpoint_stages=True).eval()
    calls: list[int] = []
    for index, stage in enumerate(decoder.stages):
        stage.register_forward_pre_hook(lambda *_, index=index: calls.append(index))
    output = decoder(make_maps(), Queries(*make_queries()))
    output.logits.sum().backward()
    assert calls == [0, 1]
    decoder.train()(make_maps(), Queries(*make_queries())).logits.sum().backward()
    assert calls == [0, 1, 0, 1, 1, 0]
