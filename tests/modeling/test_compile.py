"""One compiled graph of the decoder serves training images of any size, with the same results.

The backends are quick ones that do not generate code; `slow` runs the one that does.
"""

import copy
import shutil
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling import (
    ChannelMapper,
    DecoderOutput,
    LearnedQueries,
    ParallelDecoder,
    Queries,
    StageInteractor,
)
from stageinteractor.modeling.box_coding import xyzr_to_xyxy
from stageinteractor.modeling.decoders.adamixer import AdaMixerDecoder, AdaMixerStage
from stageinteractor.modeling.postprocessing import TopK
from stageinteractor.modeling.sampling import dispatch

SIZES = [(64, 96), (96, 128), (160, 64)]
ADAMIXER = dict(embed_dim=32, num_groups=2, num_heads=4, feedforward_dim=48, num_classes=3)


class Maps(nn.Module):
    """A backbone without weights: the image, smaller and smaller."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {
            f"res{level + 2}": nn.functional.avg_pool2d(images, 4 * 2**level) for level in range(4)
        }


class FoundQueries(nn.Module):
    """Another number of queries in every call; in every second one the last is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.learned = LearnedQueries(num_queries=12, embed_dim=32)
        self.calls = 0

    def forward(self, image_sizes: Tensor, features: Any, targets: Any) -> Queries:
        count = 4 + self.calls % 5
        content, boxes = (x[:, :count].contiguous() for x in self.learned(image_sizes)[:2])
        query_mask = None
        if self.calls % 2:
            query_mask = content.new_ones(content.shape[:2], dtype=torch.bool)
            query_mask[:, -1] = False
        self.calls += 1
        logits = content[None, ..., :3]
        proposals = DecoderOutput(logits, xyzr_to_xyxy(boxes[None]), boxes[None], content[None])
        return Queries(content, boxes, query_mask, proposals)


def detector(decoder: nn.Module, queries: nn.Module | None = None) -> StageInteractor:
    torch.manual_seed(0)
    return StageInteractor(
        backbone=Maps(),
        neck=ChannelMapper(in_channels=(3, 3, 3, 3), out_channels=32, num_groups=4),
        queries=queries or LearnedQueries(num_queries=5, embed_dim=32),
        decoder=decoder,
        criterion=SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss()),
        postprocessing=TopK(6),
    )


@pytest.fixture
def make_pair(make_decoder, randomise):
    """A detector, the same with a compiled decoder, and the counter of its compilations."""

    def build(
        backend: str = "eager",
        decoder: nn.Module | None = None,
        queries: nn.Module | None = None,
        dtype: torch.dtype = torch.float64,
        **changes: Any,
    ):
        torch._dynamo.reset()
        decoder = decoder or make_decoder(**({"num_stages": 2} | changes))
        plain = randomise(detector(decoder, queries))
        plain.to(dtype)
        compiled = copy.deepcopy(plain)
        counter = CompileCounterWithBackend(backend)
        compiled.compile_decoder(backend=backend if backend == "inductor" else counter)
        return plain, compiled, counter

    return build


def images(model: StageInteractor, size: tuple[int, int], count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(size))
    pixels = torch.randn(count, 3, *size, generator=generator)
    return list(pixels.to(model.pixel_mean))


def train(model: StageInteractor, size: tuple[int, int], **autocast: Any):
    """Predictions of one forward pass, and the gradients of all parameters."""
    model.train().zero_grad()
    batch = images(model, size)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast.get("enabled", False)):
        output, _ = model.decode(model.pad(batch), batch)
    (output.logits.float().square().sum() + output.boxes.square().mean()).backward()
    return output, [p.grad for p in model.parameters()]


def tensors(output: DecoderOutput) -> list[Tensor]:
    return [field for field in output if field is not None]


def distance(actual: list[Tensor], expected: list[Tensor]) -> float:
    """How far gradients are from what they should be, as a share of these."""
    difference = sum((a - b).square().sum() for a, b in zip(actual, expected, strict=True))
    return (difference / sum(b.square().sum() for b in expected)).sqrt().item()


@torch.no_grad()
def infer(model: StageInteractor, size: tuple[int, int], count: int = 2) -> DecoderOutput:
    batch = images(model, size, count)
    return model.eval().decode(model.pad(batch), batch)[0]


@pytest.mark.parametrize("adamixer", [False, True])
def test_one_training_and_one_inference_graph_serve_all_sizes(adamixer: bool, make_pair):
    decoder = AdaMixerDecoder(num_stages=2, points=4, out_points=8, **ADAMIXER)
    plain, compiled, counter = make_pair(decoder=decoder if adamixer else None)
    for size in SIZES[:2]:
        expected, wanted_grads = train(plain, size)
        actual, grads = train(compiled, size)
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(grads, wanted_grads)
    assert counter.frame_count == 1
    for size in SIZES[1:]:
        torch.testing.assert_close(infer(compiled, size), infer(plain, size))
    assert counter.frame_count == 2


def test_batches_of_other_sizes_compile_once_more(make_pair):
    plain, compiled, counter = make_pair(num_stages=1)
    for count in (3, 2, 4):
        actual, expected = infer(compiled, SIZES[0], count), infer(plain, SIZES[0], count)
        torch.testing.assert_close(actual, expected)
    assert counter.frame_count == 2  # for three images, then for any number


def test_compiled_number_of_queries_may_vary(make_pair):
    stages = [AdaMixerStage(points=4, out_points=8, **ADAMIXER)]
    decoder = ParallelDecoder(stages=stages, embed_dim=32)
    plain, compiled, counter = make_pair(decoder=decoder, queries=FoundQueries())
    sizes = [*SIZES[:2], *SIZES[:2]]
    for size in sizes:
        expected, wanted_grads = train(plain, size)
        actual, grads = train(compiled, size)
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(grads, wanted_grads)
    assert counter.frame_count == 2  # with padding and without


def test_traced_backward_pass_has_the_same_gradients(make_pair):
    plain, compiled, _ = make_pair("aot_eager", num_stages=3, first_reuse_stage=2)
    for size in SIZES[:2]:
        torch.testing.assert_close(train(compiled, size), train(plain, size))


def test_mixed_precision_is_compiled_too(make_pair, monkeypatch):
    plain, compiled, counter = make_pair(dtype=torch.float32)
    # as compiled code samples; the embedding bag reads features rounded to bfloat16
    monkeypatch.setattr(dispatch, "choose_backend", lambda tensor: "reference")
    for size in SIZES[:2]:
        actual, expected = train(compiled, size, enabled=True), train(plain, size, enabled=True)
        assert actual[0].logits.dtype == torch.bfloat16
        torch.testing.assert_close(actual[0], expected[0])
        assert distance(actual[1], expected[1]) < 0.02  # maps get their gradients in another order
    assert counter.frame_count == 1


def test_checkpointed_stages_are_compiled_too(make_pair):
    plain, compiled, _ = make_pair("aot_eager", num_stages=1, checkpoint_stages=True)
    torch.testing.assert_close(train(compiled, SIZES[0]), train(plain, SIZES[0]))


def test_names_in_the_state_stay_and_copies_are_not_compiled(make_pair):
    plain, compiled, counter = make_pair(num_stages=1)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    infer(copy.deepcopy(compiled), SIZES[0])
    assert counter.frame_count == 0


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler"
)
@pytest.mark.parametrize("bf16", [False, True])
def test_generated_code_is_as_exact(bf16: bool, make_pair):
    """In bfloat16 it rounds elsewhere than the plain decoder, yet is as close to float32."""
    # code for one stage takes half as long to generate; the second one, in float32, reuses filters
    plain, compiled, _ = make_pair("inductor", dtype=torch.float32, num_stages=1 if bf16 else 2)
    for size in SIZES[:2]:
        exact, exact_grads = train(plain, size)
        (expected, wanted_grads), (actual, grads) = (
            train(model, size, enabled=bf16) for model in (plain, compiled)
        )
        rounding = distance(tensors(expected), tensors(exact)), distance(wanted_grads, exact_grads)
        assert max(rounding) < (0.5 if bf16 else 1e-9)
        assert distance(tensors(actual), tensors(exact)) < 1.5 * rounding[0] + 1e-4
        assert distance(grads, exact_grads) < 1.5 * rounding[1] + 1e-4
    if not bf16:
        actual, expected = (tensors(infer(model, SIZES[2])) for model in (compiled, plain))
        assert distance(actual, expected) < 1e-4
