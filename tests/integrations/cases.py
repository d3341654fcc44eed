"""The hosts that are served, and cases for them."""

import pytest
import torch
from integrations.checks import assigned, stages_of
from integrations.toy_hosts import (
    DenoisingHost,
    EncoderHost,
    FocalHost,
    MethodMatcherHost,
    OtherNamesHost,
    PlainMatcherHost,
    SoftmaxHost,
    VarifocalHost,
    random_case,
)

HOSTS = [
    *(FocalHost, SoftmaxHost, VarifocalHost, OtherNamesHost, PlainMatcherHost, MethodMatcherHost),
    *(EncoderHost, DenoisingHost),
]

hosts = pytest.mark.parametrize("host", HOSTS)


def case_of(host, seed=0, **sizes):
    """Outputs, targets and further arguments of a host's call."""
    outputs, targets = random_case(seed, host, **sizes)
    other, _ = random_case(seed + 100, host, queries=12, **sizes)
    if host is EncoderHost:
        outputs["enc_outputs"] = {key: other[key] for key in ("pred_logits", "pred_boxes")}
    further = (stages_of(other, host),) if host is DenoisingHost else ()
    return outputs, targets, *further


def learnt_classes(outputs, targets):
    """How many classes the queries learn, stage by stage."""
    counts = []
    for stage in assigned(FocalHost(), outputs, targets):
        each = [(image, query) for image, entries in enumerate(stage) for query, _ in entries]
        counts.append(sorted(each.count(query) for query in set(each)))
    return counts


def crowd(columns=3):
    """Two queries that are matched to another one of three objects at each of three stages."""
    box = torch.tensor([0.5, 0.5, 0.4, 0.4])
    objects = torch.stack([box, box * 0.95, box * 1.05])
    targets = [{"boxes": objects, "labels": torch.tensor([0, 2, 1])}]
    generator = torch.Generator().manual_seed(0)
    stages = [
        {
            "pred_logits": torch.randn(1, 4, columns, generator=generator),
            "pred_boxes": (box * scale).expand(1, 4, 4),
            "pairs": [(torch.tensor([1, 3]), torch.tensor([index, (index + 1) % 3]))],
        }
        for index, scale in enumerate((1.0, 0.96, 1.04))
    ]
    return stages[2] | {"aux_outputs": stages[:2]}, targets


def attributes(module):
    """The names that every part of a criterion has as its own."""
    return {name: set(vars(part)) for name, part in module.named_modules()}
