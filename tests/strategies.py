"""Detection cases for property-based tests, unusual ones included, and hypothesis's profiles.

A case is drawn as its parameters (sizes, kinds of boxes and logits, a seed), so that a failing one
is printed in one line and shrinks to few stages, images, queries and ordinary boxes.

By default every run tries the same cases; HYPOTHESIS_PROFILE=search tries many new ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tally import count_fault
from torch import Tensor

settings.register_profile(
    "repeatable",
    deadline=None,  # the machine may be busy
    derandomize=True,
    max_examples=80,
    print_blob=True,
    # fixtures used here are functions or files that no example changes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "search", settings.get_profile("repeatable"), derandomize=False, max_examples=1000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def examples(share: float) -> settings:
    """Return settings with a share of the profile's examples, for slow or simple tests."""
    return settings(max_examples=max(1, int(share * settings().max_examples)))


SIZES = [(1, 1), (1, 1333), (50, 60), (800, 1333)]  # height, width
HALF = (torch.float16, torch.bfloat16)
ORDINARY = ["ordinary", "whole"]
BOXES = [*ORDINARY, "same", "point", "line", "outside", "huge", "tiny", "pixel"]
LOGITS = ["normal", "zero", "sure", "large"]


@dataclass(frozen=True)
class Case:
    """Predictions of S stages for B images, and the ground truth of the images.

    Args:
        sizes: (height, width) of every image.
        counts: number of ground-truth boxes of every image.
        stages, queries, classes: S, N, C.
        kinds: of the predicted and the ground-truth boxes.
        logit_kind: one of `LOGITS`.
        dtype: of logits and boxes; targets and sizes are float32, or float64 like these.
        seed: of everything random.
    """

    sizes: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]
    stages: int
    queries: int
    classes: int
    kinds: tuple[str, ...]
    logit_kind: str
    dtype: torch.dtype
    seed: int

    @property
    def is_bad(self) -> bool:
        """Whether it differs from a clean data set and a healthy model in any way."""
        return (
            not set(self.kinds) <= set(ORDINARY)
            or min(self.counts) == 0
            or max(self.counts) > self.queries
            or (1, 1) in self.sizes
            or self.logit_kind == "large"
            or self.dtype in HALF
        )

    @property
    def wide(self) -> torch.dtype:
        """The type of targets and sizes."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def tensors(self) -> tuple[Tensor, Tensor, list[dict[str, Tensor]], Tensor]:
        """Return logits, boxes, targets and image sizes, new ones in every call."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = self.stages, len(self.sizes), self.queries
        logits = _logits(generator, (*shape, self.classes), self.logit_kind).to(self.dtype)
        boxes, targets = torch.empty(*shape, 4, dtype=torch.float64), []
        for image, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            boxes[:, image] = self._boxes(generator, shape[0] * shape[2], size).view(
                shape[0], shape[2], 4
            )
            labels = torch.randint(self.classes, (count,), generator=generator)
            gt_boxes = self._boxes(generator, count, size).to(self.wide)
            targets.append({"boxes": gt_boxes, "labels": labels})
            # some predictions equal a ground-truth box, or nearly
            for query in range(min(count, self.queries) // 2):
                boxes[:, image, query] = gt_boxes[query] + (size[1] / 50 if query % 2 else 0)
        return logits, boxes.to(self.dtype), targets, torch.tensor(self.sizes).to(self.wide)

    def matches(self) -> Tensor:
        """Return some one-to-one matches (S, B, N) of min(N, T) pairs."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        matches = torch.full((self.stages, len(self.sizes), self.queries), -1)
        for stage in range(self.stages):
            for image, count in enumerate(self.counts):
                pairs = min(count, self.queries)
                queries = torch.randperm(self.queries, generator=generator)[:pairs]
                gt_indices = torch.randperm(count, generator=generator)[:pairs]
                matches[stage, image, queries] = gt_indices
        return matches

    def permutation(self, number: int) -> Tensor:
        """Return a random permutation of `number` indices."""
        generator = torch.Generator().manual_seed(self.seed + 2)
        return torch.randperm(number, generator=generator)

    def _boxes(self, generator: torch.Generator, count: int, size: tuple[int, int]) -> Tensor:
        chosen = torch.randint(len(self.kinds), (count,), generator=generator).tolist()
        rows = [_box(self.kinds[index], size, generator, self.dtype) for index in chosen]
        return torch.tensor(rows, dtype=torch.float64).view(count, 4)


def _box(
    kind: str, size: tuple[int, int], generator: torch.Generator, dtype: torch.dtype
) -> list[float]:
    """Return a box xyxy in pixels."""
    height, width = size
    a, b, c, d = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    x, y, w, h = a * width / 2, b * height / 2, (0.1 + 0.4 * c) * width, (0.1 + 0.4 * d) * height
    if kind == "whole":
        x, y, w, h = 0, 0, width, height
    elif kind == "same":
        x, y, w, h = width / 4, height / 4, width / 2, height / 2
    elif kind == "point":
        w, h = 0, 0
    elif kind == "line":
        w = 0
    elif kind == "outside":
        x, y = x - 2 * width, y + 2 * height
    elif kind == "huge":
        scale = 3e4 if dtype == torch.float16 else 10 ** (6 + 2 * a)
        x, y, w, h = (b - 0.5) * scale, (c - 0.5) * scale, c * scale, d * scale
    elif kind == "tiny":
        x, y, w, h = a * 1e-6, b * 1e-6, c * 1e-6, d * 1e-6
    elif kind == "pixel":
        x, y, w, h = int(x), int(y), 1, 1
    return [x, y, x + w, y + h]


def _logits(generator: torch.Generator, shape: tuple[int, ...], kind: str) -> Tensor:
    noise = torch.randn(*shape, generator=generator)
    return {"normal": noise, "zero": 0 * noise, "sure": 60 * noise, "large": 8e3 * noise}[kind]


@st.composite
def cases(
    draw: st.DrawFn,
    kinds: list[str] = BOXES,
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64, *HALF),
) -> Case:
    """Draw a case, and count it if it is unusual."""
    images = draw(st.integers(1, 3))
    case = Case(
        sizes=tuple(draw(st.sampled_from(SIZES)) for _ in range(images)),
        counts=tuple(draw(st.integers(0, 6)) for _ in range(images)),
        stages=draw(st.integers(1, 4)),
        queries=draw(st.integers(1, 5)),
        classes=draw(st.integers(1, 4)),
        kinds=tuple(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True))),
        logit_kind=draw(st.sampled_from(LOGITS)),
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 10**6)),
    )
    if case.is_bad:
        count_fault("bad input")
    return case
