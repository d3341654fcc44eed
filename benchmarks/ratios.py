"""Time and memory of this implementation against the reference implementation, in one run.

In: number of queries, device and precision. Out: a row for each comparison, with the measurements
of both, their ratio and the target. The decoder is the paper's (D 256, G 4, 6 stages, O 128) on the
maps of one 800 x 1344 image; the criterion gets 2 images of 20 objects and 6 stages of 100 queries.
The sides run in turn, A B A B, on the same weights and inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.assigner.targets import SharedTargets
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.machine.matmul import onednn_products, trial
from stageinteractor.modeling import LearnedQueries, StageInteractorDecoder
from stageinteractor.modeling.complexity import kept_for_backward
from stageinteractor.synthetic import move_parameters

from .reference_criterion import ReferenceCriterion
from .reference_decoder import ReferenceDecoder
from .run import PRECISIONS
from .timing import interleaved, peak_memory

IMAGE = 800, 1344  # padded height and width
STRIDES = 4, 8, 16, 32
STAGES, IMAGES, QUERIES, OBJECTS, CLASSES = 6, 2, 100, 20, 80  # of the criterion's inputs
CALLS = 30  # of the criterion in a timed run: one is too short


class Row(NamedTuple):
    """One comparison."""

    name: str
    reference: float
    ours: float
    unit: str  # "ms" or "MiB"
    ratio: float  # of times: reference / ours; of memory: ours / reference
    target: float  # at least that, for memory at most


Side = tuple[nn.Module, str]  # a decoder and its precision
Predictions = tuple[Tensor, Tensor, list[dict[str, Tensor]], Tensor]


def ratio_rows(
    *,
    queries: int = 100,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    repeats: int = 5,
) -> list[Row]:
    """Compare decoder and criterion with the reference implementation.

    Where oneDNN multiplies float32 exactly, the decoders are compared with its products, too: what
    is left of a ratio then is not due to the library. On a CPU in float32, this implementation in
    bfloat16 is compared with the reference in float32, too.

    Args:
        queries: N of the decoder.
        device: where to run.
        precision: "float32", or "bf16" or "fp16" for autocast; the criterion runs in float32.
        repeats: timed runs of each side, after one that warms up.
    """
    device = torch.device(device)
    decoder = paper_decoder()
    rows = decoder_rows(decoder, IMAGE, queries, device, (precision, precision), repeats)
    if device.type == "cpu" and precision == "float32":
        if trial().exact:
            with onednn_products():
                timed = decoder_rows(decoder, IMAGE, queries, device, ("float32",) * 2, repeats)
            rows += [row._replace(name=f"{row.name}, both with oneDNN") for row in timed[:2]]
        timed = decoder_rows(decoder, IMAGE, queries, device, ("float32", "bf16"), repeats)
        rows += [row._replace(name=f"{row.name}, ours in bf16") for row in timed]
    return rows + criterion_rows(device, repeats)


def decoder_rows(
    decoder: StageInteractorDecoder,
    image: tuple[int, int],
    queries: int,
    device: torch.device,
    precisions: tuple[str, str],
    repeats: int,
) -> list[Row]:
    """Compare forward, forward with backward, and the memory of inference and for backward.

    Each side gets the maps that a neck makes in its precision. Gradients are those of maps, content
    and all parameters. The peak memory of inference is that on maps with channels last, as timm's
    backbones and ``train.channels_last`` make them.
    ``image`` is the padded height and width, ``precisions`` are those of the reference and of this
    implementation; the other arguments are those of `ratio_rows`.
    """
    reference = ReferenceDecoder(decoder).to(device)
    first: Any = decoder.stages[0]
    width = first.mixing.filters.in_features
    drawn = [torch.randn(1, width, image[0] // s, image[1] // s, device=device) for s in STRIDES]
    maps = {
        precision: [feature.to(PRECISIONS[precision]).requires_grad_() for feature in drawn]
        for precision in precisions
    }
    learned_queries = LearnedQueries(num_queries=queries, embed_dim=width).to(device)
    start = learned_queries(torch.tensor([image], dtype=torch.float32, device=device))
    content = start.content.detach().requires_grad_()
    start = start._replace(content=content)
    learned = [content, *(x for given in maps.values() for x in given), *reference.parameters()]

    def decode(side: Side, given: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        model, precision = side
        dtype, mixed = PRECISIONS[precision], precision != "float32"
        with torch.autocast(
            device.type, dtype, enabled=mixed, cache_enabled=torch.is_grad_enabled()
        ):
            output = model(maps[precision] if given is None else given, start)
        return output.logits, output.boxes_xyzr

    @torch.no_grad()
    def forward(side: Side) -> None:
        decode(side)

    @torch.no_grad()
    def peak(side: Side) -> float:
        last = [feature.to(memory_format=torch.channels_last) for feature in maps[side[1]]]
        return peak_memory(functools.partial(decode, side, last), device) / 2**20

    def step(side: Side) -> None:
        outputs = decode(side)
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
        for tensor in learned:
            tensor.grad = None

    sides = tuple(zip((reference, decoder), precisions, strict=True))
    rows = [
        _compare("decoder forward", forward, sides, device, repeats, target=1.3),
        _compare("decoder forward and backward", step, sides, device, repeats, target=1.4),
    ]
    kept = [kept_for_backward(functools.partial(decode, side), learned) / 2**20 for side in sides]
    peaks = [peak(side) for side in sides]
    for name, (theirs, ours) in {
        "kept for backward": kept,
        "of inference, at its peak": peaks,
    }.items():
        rows.append(
            Row(f"memory {name} (ours / reference)", theirs, ours, "MiB", ours / theirs, 0.7)
        )
    return rows


def criterion_rows(device: torch.device, repeats: int) -> list[Row]:
    """Compare matching with class targets, and the whole criterion with its backward pass."""
    criterion = SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())
    reference = ReferenceCriterion(criterion)
    logits, boxes, targets, sizes = predictions_near_objects(device)

    def assign_reference() -> None:
        matches = reference.match(logits, boxes, targets, sizes)
        reference.class_targets(boxes, matches, targets, CLASSES)

    def assign() -> None:
        shared = SharedTargets(targets)  # as in the criterion
        matches = criterion.matcher(logits, boxes, shared, sizes)
        criterion.assigner(boxes, matches, shared, CLASSES)

    leaves = [logits.clone().requires_grad_(), boxes.clone().requires_grad_()]

    def step(side: Callable[..., dict[str, Tensor]]) -> None:
        torch.stack(list(side(*leaves, targets, sizes).values())).sum().backward()
        for leaf in leaves:
            leaf.grad = None

    def repeat(run: Callable[[], None]) -> None:
        for _ in range(CALLS):
            run()

    steps = [functools.partial(step, side) for side in (reference, criterion)]
    compare = functools.partial(_compare, device=device, repeats=repeats, calls=CALLS)
    return [
        compare("matching and class targets", repeat, [assign_reference, assign], target=6.0),
        compare("criterion forward and backward", repeat, steps, target=2.5),
    ]


def paper_decoder() -> StageInteractorDecoder:
    """Return the paper's decoder with moved parameters."""
    decoder = StageInteractorDecoder()
    move_parameters(decoder)
    return decoder


def predictions_near_objects(device: torch.device) -> Predictions:
    """Return logits (S, B, N, C), boxes (S, B, N, 4), objects and image sizes (B, 2).

    Every query lies near an object at all stages, so that there are labels to be gathered.
    """
    draw = torch.Generator().manual_seed(0)
    sizes = torch.tensor([IMAGE] * IMAGES, dtype=torch.float32)
    scale = sizes.flip(-1).repeat(1, 2).unsqueeze(1)  # (B, 1, 4): w, h, w, h
    low, extent = torch.rand(2, IMAGES, OBJECTS, 2, generator=draw)
    extent = 0.05 + 0.25 * extent
    low = low * (1 - extent)
    objects = torch.cat([low, low + extent], dim=-1) * scale
    near = torch.arange(QUERIES) % OBJECTS
    noise = 0.15 * torch.randn(STAGES, IMAGES, QUERIES, 4, generator=draw)
    boxes = objects[:, near] + noise * (extent.repeat(1, 1, 2) * scale)[:, near]
    labels = torch.randint(CLASSES, (IMAGES, OBJECTS), generator=draw)
    logits = torch.randn(STAGES, IMAGES, QUERIES, CLASSES, generator=draw) - 3.0
    pairs = zip(objects.to(device), labels.to(device), strict=True)
    targets = [{"boxes": boxes, "labels": labels} for boxes, labels in pairs]
    return logits.to(device), boxes.to(device), targets, sizes.to(device)


def _compare(
    name: str,
    run: Callable[[Any], None],
    sides: Sequence[Any],
    device: torch.device,
    repeats: int,
    *,
    target: float,
    calls: int = 1,
) -> Row:
    """Time both sides; ``run`` makes so many calls of what it is given."""
    runs = [functools.partial(run, side) for side in sides]
    reference, ours = (
        1e3 * timing.median / calls for timing in interleaved(runs, device, repeats=repeats)
    )
    return Row(name, reference, ours, "ms", reference / ours, target)
