"""The position-modulated cost as a host's matcher: by hand, against loops, and on its own."""

import math

import pytest
import torch
from device_to_host import HostCopies, without_autocast
from scipy.optimize import linear_sum_assignment

from stageinteractor.assigner import CopiesMatcher, HungarianMatcher
from stageinteractor.assigner.targets import pad_targets
from stageinteractor.integrations import AdaptedMatcher
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.integrations.mask_cost import PositionModulatedMaskMatcher

WEIGHTS = dict(cost_class=2.0, cost_bbox=5.0, cost_giou=2.0)


def random_case(seed, counts=(3, 0, 5), queries=7, classes=4, labels="labels", logits="logits"):
    generator = torch.Generator().manual_seed(seed)

    def boxes(*shape):
        middles = torch.rand(*shape, 2, generator=generator) * 0.6 + 0.2
        return torch.cat([middles, torch.rand(*shape, 2, generator=generator) * 0.3 + 0.05], dim=-1)

    outputs = {
        logits: torch.randn(len(counts), queries, classes, generator=generator) * 2,
        "pred_boxes": boxes(len(counts), queries),
    }
    targets = [
        {labels: torch.randint(classes, (count,), generator=generator), "boxes": boxes(count)}
        for count in counts
    ]
    return outputs, targets


def corners(box):
    x, y, w, h = box
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def slow_cost(logit, box, expected, exponent, rescale_by=1.0):
    """The cost of one pair with plain numbers, weights 2, 5 and 2."""
    a, b = corners(box), corners(expected)
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    overlap *= max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = box[2] * box[3] + expected[2] * expected[3] - overlap
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    giou = overlap / (union + 1e-6) - (hull - union) / (hull + 1e-6)
    p = 1 / (1 + math.exp(-logit)) * ((giou + 1) / 2 * rescale_by) ** exponent
    focal = 0.25 * (1 - p) ** 2 * -math.log(p + 1e-8) - 0.75 * p**2 * -math.log(1 - p + 1e-8)
    distance = sum(abs(x - y) for x, y in zip(box, expected, strict=True))
    return 2 * focal + 5 * distance - 2 * giou, (giou + 1) / 2


def slow_costs(outputs, targets, exponent, rescale=False):
    """Costs (N, T) of every image, pair by pair."""
    tables = []
    for logits, boxes, target in zip(
        outputs["logits"].tolist(), outputs["pred_boxes"].tolist(), targets, strict=True
    ):
        objects = list(zip(target["labels"].tolist(), target["boxes"].tolist(), strict=True))
        queries = list(zip(logits, boxes, strict=True))
        pairs = [[(row[c], box, expected) for c, expected in objects] for row, box in queries]
        fits = [slow_cost(*pair, 0.0)[1] for row in pairs for pair in row]
        by = max(1.0, 1 / (max(fits) + 1e-8)) if rescale and fits else 1.0
        tables.append([[slow_cost(*pair, exponent, by)[0] for pair in row] for row in pairs])
    return tables


def costs_of(matcher, outputs, targets):
    """Costs (N, T) of every image as the matcher has them, lists of numbers."""
    padded = pad_targets(targets, like=outputs["pred_boxes"])
    costs = matcher.costs(outputs["logits"], outputs["pred_boxes"], padded)
    return [table[:, :count].tolist() for table, count in zip(costs, padded.counts, strict=True)]


def as_lists(pairs):
    return [(queries.tolist(), objects.tolist()) for queries, objects in pairs]


def test_cost_of_a_pair_by_hand():
    # box corners (.2 .2 .6 .6), object (.4 .2 .8 .6): shared .2 x .4, areas .16 and .16
    # union .24, hull .6 x .4 = .24: GIoU = 1/3 - 0, s' = 2/3; logit 0: p = 1/2
    # exponent 1: p' = 1/3: .25 (2/3)^2 ln 3 - .75 (1/3)^2 ln 1.5 = (1/9) ln 3 - (1/12) ln 1.5
    # L1 of cxcywh: .2; together 2 * that + 5 * .2 - 2 / 3
    outputs = {"logits": torch.zeros(1, 1, 1), "pred_boxes": torch.tensor([[[0.4, 0.4, 0.4, 0.4]]])}
    targets = [{"labels": torch.tensor([0]), "boxes": torch.tensor([[0.6, 0.4, 0.4, 0.4]])}]
    actual = costs_of(PositionModulatedHostMatcher(**WEIGHTS, exponent=1.0), outputs, targets)
    expected = 2 * (math.log(3) / 9 - math.log(1.5) / 12) + 5 * 0.2 - 2 / 3
    assert actual[0][0][0] == pytest.approx(expected, abs=2e-5)  # floors of 1e-6 under areas of .24


@pytest.mark.parametrize("exponent", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_costs_and_matches_are_those_of_loops(seed, exponent, rescale):
    outputs, targets = random_case(seed)
    matcher = PositionModulatedHostMatcher(**WEIGHTS, exponent=exponent, rescale=rescale)
    expected = slow_costs(outputs, targets, exponent, rescale)
    for actual, table in zip(costs_of(matcher, outputs, targets), expected, strict=True):
        assert sum(actual, []) == pytest.approx(sum(table, []), abs=1e-4)
    pairs = [linear_sum_assignment(table) if table[0] else ((), ()) for table in expected]
    assert as_lists(matcher(outputs, targets)) == [(list(i), list(j)) for i, j in pairs]


@pytest.mark.parametrize("rescale", [False, True])
def test_an_image_is_matched_the_same_whatever_is_in_its_batch(rescale):
    outputs, targets = random_case(0, counts=(6, 2, 0, 7), classes=2)
    matcher = PositionModulatedHostMatcher(**WEIGHTS, rescale=rescale)
    together = as_lists(matcher(outputs, targets))
    together_costs = costs_of(matcher, outputs, targets)
    for image in range(4):
        alone = {key: value[image : image + 1] for key, value in outputs.items()}
        assert as_lists(matcher(alone, targets[image : image + 1])) == [together[image]]
        (costs,) = costs_of(matcher, alone, targets[image : image + 1])
        assert sum(costs, []) == pytest.approx(sum(together_costs[image], []), rel=1e-6)


def test_names_of_outputs_and_targets_are_either_hosts():
    matcher = PositionModulatedHostMatcher()
    detrex = matcher(*random_case(4, logits="pred_logits", labels="labels"))
    transformers = matcher(*random_case(4, logits="logits", labels="class_labels"))
    assert as_lists(detrex) == as_lists(transformers)


@pytest.mark.parametrize("key", ["logits", "pred_boxes"])
def test_non_finite_predictions_are_reported(key):
    outputs, targets = random_case(0, counts=(3, 5))
    outputs[key][1, 2] = float("nan")
    with pytest.raises(FloatingPointError, match="image 1 of the batch are not finite"):
        PositionModulatedHostMatcher()(outputs, targets)


def test_an_image_without_objects_may_be_non_finite():
    outputs, targets = random_case(0)
    outputs["logits"][1] = float("nan")
    assert [len(q) for q, _ in PositionModulatedHostMatcher()(outputs, targets)] == [3, 0, 5]


@pytest.mark.parametrize("rescale", [False, True])
def test_the_host_waits_for_the_device_once(rescale, monkeypatch):
    without_autocast(monkeypatch)
    outputs, targets = random_case(0)
    outputs = {key: value.to("meta") for key, value in outputs.items()}
    targets = [{key: value.to("meta") for key, value in target.items()} for target in targets]
    with HostCopies() as copies:
        pairs = PositionModulatedHostMatcher(rescale=rescale)(outputs, targets)
    assert copies.waiting == 1
    assert [len(queries) for queries, _ in pairs] == [3, 0, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(cost_class_type="ce_cost"), "needs cost_class_type='focal_loss_cost', got 'ce_cost'"),
        (dict(cost_class=0, cost_bbox=0, cost_giou=0), "not all zero"),
        (dict(exponent=-0.5), "exponent must be finite and not negative, got -0.5"),
        (dict(exponent=math.nan), "exponent must be finite and not negative, got nan"),
    ],
)
def test_settings_that_make_no_cost_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PositionModulatedHostMatcher(**settings)


def test_alpha_and_gamma_are_those_of_the_class_cost():
    # a box on its object: p' = p = 1/2; alpha .4, gamma 1: .4 / 2 ln 2 - .6 / 2 ln 2 = -.1 ln 2
    box = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    matcher = PositionModulatedHostMatcher(1.0, 0.0, 0.0, alpha=0.4, gamma=1.0)
    padded = pad_targets([{"boxes": box, "labels": torch.tensor([0])}], like=box)
    actual = matcher.costs(torch.zeros(1, 1, 1), box[None], padded)
    assert actual.item() == pytest.approx(-0.1 * math.log(2), abs=1e-5)
    actual = PositionModulatedHostMatcher()
    assert (actual.alpha, actual.gamma, actual.exponent, actual.rescale) == (0.25, 2.0, 0.5, False)


def test_padding_takes_no_part_in_the_scaling():
    # the box lies where the padding of the second image is, and far from its only object
    near, far = torch.tensor([0.02, 0.02, 0.04, 0.04]), torch.tensor([0.9, 0.9, 0.1, 0.1])
    targets = [
        {"boxes": torch.stack([far, far]), "labels": torch.tensor([0, 0])},
        {"boxes": far[None], "labels": torch.tensor([0])},
    ]
    outputs = {"logits": torch.zeros(2, 1, 1), "pred_boxes": near.expand(2, 1, 4)}
    matcher = PositionModulatedHostMatcher(1.0, 0.0, 0.0, rescale=True)
    costs = matcher.costs(outputs["logits"], outputs["pred_boxes"], pad_targets(targets, like=near))
    # scaled to s' = 1, as its only pair is the best: p' = 1/2
    assert costs[1, 0, 0].item() == pytest.approx(-math.log(2) / 8, abs=1e-5)


def test_its_description_takes_the_indent_that_detrex_gives():
    lines = PositionModulatedHostMatcher(exponent=0.75).__repr__(_repr_indent=8).splitlines()
    assert lines[0] == "Matcher PositionModulatedHostMatcher"
    assert "        exponent: 0.75" in lines


@pytest.mark.parametrize("kind", [AdaptedMatcher, PositionModulatedMaskMatcher])
def test_matchers_around_another_take_the_indent_too(kind):
    lines = kind(PositionModulatedHostMatcher()).__repr__(_repr_indent=8).splitlines()
    assert lines[0] == f"Matcher {kind.__name__}"
    assert "        matcher: Matcher PositionModulatedHostMatcher" in lines


GROUPED = [
    PositionModulatedHostMatcher(**WEIGHTS, rescale=True),
    AdaptedMatcher(HungarianMatcher()),
    AdaptedMatcher(CopiesMatcher()),
]


@pytest.mark.parametrize("matcher", GROUPED)
def test_groups_of_queries_are_matched_by_themselves(matcher):
    """As LW-DETR and RF-DETR call their matcher, with the number of groups third."""
    outputs, targets = random_case(3, queries=12)
    pairs = matcher(outputs, targets, 3)
    for group in range(3):
        part = {key: value[:, 4 * group : 4 * group + 4] for key, value in outputs.items()}
        for (queries, indices), (q, index) in zip(pairs, matcher(part, targets), strict=True):
            chosen = queries // 4 == group
            assert (queries[chosen] - 4 * group).tolist() == q.tolist()
            assert indices[chosen].tolist() == index.tolist()
    assert [len(queries) for queries, _ in pairs] == [9, 0, 12]
