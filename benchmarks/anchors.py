"""The cost of anchor queries (ASAG): the anchor generator, beside a decoder of one stage.

In: device and precision. Out: a row for each timed module, all timed in turn in one run. They are
those of ASAG-A (256 wide, about 100 anchors) on the maps of one image of 800 x 1333 pixels, at
inference. With random weights the anchors are too large for any patch of P4 or P3 to be probed. So
the last layers are set to constant predictions: anchors in the middle of every patch, a given
number of them certain and a given number small and uncertain. Every patch then leads to one patch
of the next level, and the number of anchors is the same with and without probing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stageinteractor.modeling import (
    AdaMixerDecoder,
    AnchorGenerator,
    LearnedQueries,
    Queries,
    RelationBlock,
)
from stageinteractor.modeling.anchors.anchor_head import AnchorHead
from stageinteractor.modeling.box_coding import xyxy_to_xyzr
from stageinteractor.synthetic import move_parameters

from .run import PRECISIONS
from .timing import interleaved

IMAGE, PADDED = (800, 1333), (800, 1344)
STRIDES = 4, 8, 16, 32
WIDTH, QUERIES = 256, 100
SURE, UNSURE, NONE = 3.0, 0.0, -5.0  # logits: kept, probed if small, dropped
SMALL = -2.5  # logit of a width and a height: 8 per cent of the patch
DECODER = "decoder of one stage"


class AnchorRow(NamedTuple):
    """One timed module."""

    name: str
    queries: int  # that it returns, or gets
    crops: tuple[int, int] | None  # probed patches of P4 and of P3
    milliseconds: float
    decoders: float  # the time over that of a decoder of one stage


class Case(NamedTuple):
    """The constant predictions of the generator in every patch."""

    name: str
    fixed: tuple[int, int]  # in quarters and whole images: certain, uncertain
    finer: tuple[int, int]  # in crops of P4 and P3


# 100 anchors: 5 x 20; and 5 x 5, then 5 x 5 of P4, then 5 x (5 + 5) of P3, the last level
CASES = (
    Case("anchors, no patch probed", fixed=(20, 0), finer=(0, 0)),
    Case("anchors, 5 patches of a level", fixed=(5, 5), finer=(5, 5)),
)


def anchor_rows(
    *, device: str | torch.device = "cpu", precision: str = "float32", repeats: int = 5
) -> list[AnchorRow]:
    """Time learned queries, the generator in all cases, the relation block and the decoder.

    Args:
        device: where to run.
        precision: "float32", or "bf16" or "fp16" for autocast.
        repeats: timed runs of each, after one that warms up.
    """
    device = torch.device(device)
    draw = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(1, WIDTH, PADDED[0] // s, PADDED[1] // s, generator=draw).to(device)
        for s in STRIDES
    ]
    sizes = torch.tensor([IMAGE], dtype=torch.float32, device=device)
    learned = LearnedQueries(num_queries=QUERIES, embed_dim=WIDTH).to(device)
    cases: list[tuple[str, int, tuple[int, int] | None, Callable[[], object]]] = [
        ("learned queries", QUERIES, None, functools.partial(learned, sizes))
    ]
    boxes = maps[0].new_zeros(1, 0, 4)
    for case in CASES:
        generator = generator_of(case).to(device)
        anchors, crops = generated(generator, maps, sizes)
        boxes = anchors[None]
        run = functools.partial(generator, maps, sizes)
        cases.append((case.name, len(anchors), crops, run))
    relation, decoder = (module.to(device).eval() for module in blocks())
    count = boxes.shape[1]
    start = Queries(torch.zeros(1, count, WIDTH, device=device), xyxy_to_xyzr(boxes))
    cases += [
        ("relation block", count, None, functools.partial(relation, maps, boxes)),
        (DECODER, count, None, functools.partial(decoder, maps, start)),
    ]
    runs = [functools.partial(_run, run, device.type, precision) for *_, run in cases]
    times = [1e3 * timing.median for timing in interleaved(runs, device, repeats=repeats)]
    return [
        AnchorRow(name, queries, crops, time, time / times[-1])
        for (name, queries, crops, _), time in zip(cases, times, strict=True)
    ]


@torch.no_grad()
def generator_of(case: Case) -> AnchorGenerator:
    """Return ASAG-A's generator with the constant predictions of a case."""
    torch.manual_seed(0)
    generator = AnchorGenerator(embed_dim=WIDTH).eval()
    predict(generator.head, *case.fixed)
    predict(generator.finer_head, *case.finer)
    return generator


@torch.no_grad()
def predict(head: AnchorHead, sure: int, unsure: int) -> None:
    """Set the last layer of a head to constant predictions: small anchors in the middle of a patch.

    Args:
        head: changed in place.
        sure: the number of anchors with a high score.
        unsure: the number of anchors with a score of 0.5; all others have a low score.
    """
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    bias = last.bias.view(head.num_anchors, 5)  # x, y, width, height, score
    bias[:, :2], bias[:, 2:4], bias[:, 4] = 0.0, SMALL, NONE
    bias[:sure, 4], bias[sure : sure + unsure, 4] = SURE, UNSURE


def blocks() -> tuple[RelationBlock, AdaMixerDecoder]:
    """Return ASAG-A's relation block, and its decoder as it is at inference: a single stage."""
    torch.manual_seed(0)
    parts = RelationBlock(embed_dim=WIDTH), AdaMixerDecoder(num_stages=1, embed_dim=WIDTH)
    for part in parts:
        move_parameters(part)
    return parts


@torch.no_grad()
def generated(
    generator: AnchorGenerator, maps: list[Tensor], sizes: Tensor
) -> tuple[Tensor, tuple[int, int]]:
    """Return the anchors (N, 4) of one image, and the numbers of probed crops of P4 and of P3."""
    result = generator(maps, sizes)
    (counts,) = result.num_crops(1).tolist()
    return result.anchors.boxes, (counts[0], counts[1])


@torch.no_grad()
def _run(run: Callable[[], object], device: str, precision: str) -> None:
    with torch.autocast(device, PRECISIONS[precision], enabled=precision != "float32"):
        run()
