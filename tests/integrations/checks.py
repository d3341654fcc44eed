"""What the tests of wrapped criteria want, and how they compare."""

import pytest
import torch
from integrations import reference
from integrations.reference import Rule

from stageinteractor.assigner import CrossStageAssigner

# With this every loss is the host's own.
NEUTRAL = dict(assigner=CrossStageAssigner(scope=(0, 0), keep_own_match=True), normalizer="host")


def names_of(host):
    """The names of its logits and of the list of the stages before."""
    return getattr(host, "logits", "pred_logits"), getattr(host, "before", "aux_outputs")


def stages_of(outputs, host):
    return [*outputs.get(names_of(host)[1], []), outputs]


def class_keys(host, stages):
    key = getattr(host, "key", "loss_class")
    return [*(f"{key}_{i}" for i in range(stages - 1)), key]


def pairs_of(host, outputs, targets, stages=None, **matching):
    stages = stages or stages_of(outputs, host)
    return reference.to_lists([host.matcher(stage, targets, **matching) for stage in stages])


def assigned(host, outputs, targets, rule=None, stages=None, **matching):
    stages = stages or stages_of(outputs, host)
    boxes = [stage["pred_boxes"] for stage in stages]
    pairs = pairs_of(host, outputs, targets, stages, **matching)
    return reference.assigned(boxes, pairs, targets, rule or Rule())


def expected_class_losses(
    host, outputs, targets, rule=None, normalizer="host", stages=None, number=None, **matching
):
    """The reference's class losses under the host's names."""
    stages = stages or stages_of(outputs, host)
    softmax = hasattr(host, "empty_weight")
    losses = reference.class_losses(
        "softmax" if softmax else getattr(host, "kind", "focal"),
        [stage[names_of(host)[0]] for stage in stages],
        [stage["pred_boxes"] for stage in stages],
        pairs_of(host, outputs, targets, stages, **matching),
        targets,
        rule or Rule(),
        normalizer,
        number,
        host.empty_weight[-1].item() if softmax else None,
    )
    return dict(zip(class_keys(host, len(stages)), losses, strict=True))


def assert_all_equal(actual, expected):
    """The same names in the same order, and no bit differs."""
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def assert_only_class_losses_changed(actual, plain, expected, tolerance=1e-6):
    """Those of the reference where it says something, the host's to the bit elsewhere."""
    assert list(actual) == list(plain)
    assert set(expected) < set(plain)
    for name, value in plain.items():
        if name in expected:
            assert actual[name].item() == pytest.approx(expected[name].item(), rel=tolerance), name
        else:
            assert torch.equal(actual[name], value), name
