"""Small criteria of the form that DETR's has, good and bad ones, and outputs for them."""

from __future__ import annotations

import copy

import torch
import torch.distributed as dist
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import nn

from stageinteractor.assigner.boxes import box_iou, cxcywh_to_xyxy


def hungarian(outputs, targets, logits="pred_logits", labels="labels"):
    """Pairs at the least L1 distance less the chance of the class."""
    pairs = []
    for image, target in enumerate(targets):
        chance = outputs[logits][image].detach().double().sigmoid()[:, target[labels]]
        boxes, known = outputs["pred_boxes"][image].detach().double(), target["boxes"].double()
        cost = torch.cdist(boxes, known, p=1) - chance
        pairs.append(tuple(torch.as_tensor(x) for x in linear_sum_assignment(cost)))
    return pairs


class Matcher(nn.Module):
    """Counts its calls; outputs that have ready pairs of their own get those."""

    def __init__(self, logits="pred_logits", labels="labels"):
        super().__init__()
        self.names = {"logits": logits, "labels": labels}
        self.calls = 0

    def forward(self, outputs, targets):
        self.calls += 1
        return outputs["pairs"] if "pairs" in outputs else hungarian(outputs, targets, **self.names)


class Host(nn.Module):
    """Matches the last stage, then the others; every stage has losses of its own."""

    logits, before, labels = "pred_logits", "aux_outputs", "labels"
    losses = ("labels", "boxes")
    kind = "focal"  # of the reference's class losses
    key = "loss_class"

    def __init__(self, num_classes=4, matcher=None):
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher or Matcher(self.logits, self.labels)
        self.weight_dict = {self.key: 2.0, "loss_bbox": 5.0}

    def forward(self, outputs, targets, return_indices=False):
        last = {name: value for name, value in outputs.items() if name != self.before}
        stages = [("", last)]
        stages += [(f"_{i}", stage) for i, stage in enumerate(outputs.get(self.before, []))]
        number = self.number_of_boxes(outputs, targets)
        losses, indices = {}, []
        for suffix, stage in stages:
            indices.append(self.matcher(stage, targets))
            losses |= self.all_losses(stage, targets, indices[-1], number, suffix)
        return (losses, indices[1:] + indices[:1]) if return_indices else losses

    def number_of_boxes(self, outputs, targets):
        number = torch.tensor([float(sum(len(target[self.labels]) for target in targets))])
        if dist.is_initialized():
            dist.all_reduce(number)
            number /= dist.get_world_size()
        return number.clamp(min=1.0).item()

    def all_losses(self, outputs, targets, indices, number, suffix):
        actual = {}
        for loss in self.losses:
            actual |= self.get_loss(loss, outputs, targets, indices, number)
        return {name + suffix: value for name, value in actual.items()}

    def get_loss(self, loss, outputs, targets, indices, num_boxes):
        return getattr(self, f"loss_{loss}")(outputs, targets, indices, num_boxes)

    def loss_boxes(self, outputs, targets, indices, num_boxes):
        boxes, known = self.aligned(outputs, targets, indices)
        return {"loss_bbox": (boxes - known).abs().sum() / num_boxes}

    def aligned(self, outputs, targets, indices):
        """The boxes of the pairs and of their objects."""
        known = [
            target["boxes"][objects] for target, (_, objects) in zip(targets, indices, strict=True)
        ]
        return outputs["pred_boxes"][self.place(indices)], torch.cat(known)

    def place(self, indices):
        images = [torch.full_like(queries, i) for i, (queries, _) in enumerate(indices)]
        return torch.cat(images), torch.cat([queries for queries, _ in indices])

    def classes(self, outputs, targets, indices):
        """One class of every query, num_classes for none."""
        logits = outputs[self.logits]
        actual = torch.full(logits.shape[:2], self.num_classes)
        labels = [
            target[self.labels][objects]
            for target, (_, objects) in zip(targets, indices, strict=True)
        ]
        actual[self.place(indices)] = torch.cat(labels)
        return actual

    def one_hot(self, outputs, targets, indices):
        classes = self.classes(outputs, targets, indices)
        return F.one_hot(classes, self.num_classes + 1)[..., :-1].to(outputs[self.logits].dtype)


class FocalHost(Host):
    def loss_labels(self, outputs, targets, indices, num_boxes):
        logits, expected = outputs[self.logits], self.one_hot(outputs, targets, indices)
        return {self.key: self.focal(logits, expected).mean(1).sum() * logits.shape[1] / num_boxes}

    def focal(self, logits, expected):
        off = (logits.sigmoid() - expected).abs()
        weight = 0.25 * expected + 0.75 * (1 - expected)
        entropy = F.binary_cross_entropy_with_logits(logits, expected, reduction="none")
        return weight * off**2 * entropy


class OtherNamesHost(FocalHost):
    """The names that Hugging Face uses."""

    logits, before, labels = "logits", "auxiliary_outputs", "class_labels"
    key = "loss_ce"


class SoftmaxHost(Host):
    """A column more than classes, for no object."""

    kind = "softmax"

    def __init__(self, num_classes=4, matcher=None):
        super().__init__(num_classes, matcher)
        weight = torch.ones(num_classes + 1)
        weight[-1] = 0.1
        self.register_buffer("empty_weight", weight)

    def loss_labels(self, outputs, targets, indices, num_boxes):
        logits, classes = outputs[self.logits], self.classes(outputs, targets, indices)
        weight = self.empty_weight.to(logits)
        return {self.key: F.cross_entropy(logits.flatten(0, 1), classes.flatten(), weight)}


class VarifocalHost(Host):
    """The target of a class is the overlap with its object."""

    losses = ("labels_vfl", "boxes")
    kind = "varifocal"
    key = "loss_vfl"

    def loss_labels_vfl(self, outputs, targets, indices, num_boxes):
        logits = outputs[self.logits]
        expected = self.one_hot(outputs, targets, indices)
        scores = expected * self.overlaps(outputs, targets, indices).to(logits).unsqueeze(-1)
        entropy = F.binary_cross_entropy_with_logits(logits, scores, reduction="none")
        negative = 0.75 * logits.detach().sigmoid() ** 2 * (1 - expected)
        return {self.key: ((negative + scores) * entropy).sum() / num_boxes}

    def loss_labels(self, outputs, targets, indices, num_boxes):
        raise AssertionError("a class loss that is not in use was called")

    def overlaps(self, outputs, targets, indices):
        boxes, known = self.aligned(outputs, targets, indices)
        actual = outputs["pred_boxes"].new_zeros(outputs[self.logits].shape[:2])
        overlap = box_iou(cxcywh_to_xyxy(boxes.detach()), cxcywh_to_xyxy(known), eps=1e-12)
        actual[self.place(indices)] = overlap.to(actual)
        return actual


class EncoderHost(FocalHost):
    """Its outputs have proposals, which are matched to objects of one class."""

    def forward(self, outputs, targets):
        losses = super().forward(outputs, targets)
        targets = copy.deepcopy(targets)
        for target in targets:
            target["labels"].zero_()
        stage, number = outputs["enc_outputs"], self.number_of_boxes(outputs, targets)
        return losses | self.all_losses(
            stage, targets, self.matcher(stage, targets), number, "_enc"
        )


class DenoisingHost(FocalHost):
    """Has queries for denoising beside the others; which objects they have is known."""

    def forward(self, outputs, targets, dn_metas=None):
        losses = super().forward(outputs, targets)
        if dn_metas is None:
            return losses
        every = [torch.arange(len(target["labels"])) for target in targets]
        indices = list(zip(every, every, strict=True))
        number = 2 * self.number_of_boxes(outputs, targets)
        for i, stage in enumerate(dn_metas):
            losses |= self.all_losses(stage, targets, indices, number, f"_dn_{i}")
        return losses


class PlainMatcherHost(FocalHost):
    """The matcher is not a module."""

    def __init__(self, num_classes=4):
        super().__init__(num_classes)
        del self.matcher
        self.matcher = hungarian


class MethodMatcherHost(FocalHost):
    """The matcher is a method of the class."""

    def __init__(self, num_classes=4):
        super().__init__(num_classes)
        del self.matcher

    def matcher(self, outputs, targets):
        return hungarian(outputs, targets)


def hybrid_losses(criterion, outputs, targets, copies=3):
    """Call a criterion again for one-to-many queries, as models with hybrid matching do."""
    losses = dict(criterion(outputs, targets))
    many = {
        name.removesuffix("_one2many"): value
        for name, value in outputs.items()
        if name.endswith("_one2many")
    }
    repeated = [
        {"boxes": t["boxes"].repeat(copies, 1), "labels": t["labels"].repeat(copies)}
        for t in targets
    ]
    again = criterion(many, repeated)
    return losses | {f"{name}_one2many": value for name, value in again.items()}


def random_case(
    seed=0, host=FocalHost, stages=4, counts=(5, 3, 0), queries=8, classes=4, dtype=torch.float32
):
    """Queries that lie around crowded objects, so that they change objects and have several.

    Returns outputs and targets under the names of the host.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        value = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * value

    targets, middles = [], []
    for count in counts:
        boxes = torch.cat([uniform(0.42, 0.58, count, 2), uniform(0.35, 0.5, count, 2)], dim=1)
        labels = torch.randint(classes, (count,), generator=generator)
        targets.append({"boxes": boxes.to(dtype), host.labels: labels})
        around = boxes if count else uniform(0.3, 0.7, 1, 4)
        middles.append(around[torch.randint(len(around), (queries,), generator=generator)])

    def stage():
        shape = (len(counts), queries, classes + (host.kind == "softmax"))
        logits = torch.randn(*shape, generator=generator, dtype=torch.float64) * 1.5
        boxes = torch.stack(middles) * uniform(0.85, 1.15, *shape[:2], 4)
        return {host.logits: logits.to(dtype), "pred_boxes": boxes.to(dtype)}

    before = [stage() for _ in range(stages - 1)]
    return stage() | {host.before: before}, targets


def with_gradients(outputs, host=FocalHost):
    """The same outputs, logits being leaves of the graph; and these logits."""

    def leaf(stage):
        return stage | {host.logits: stage[host.logits].detach().clone().requires_grad_()}

    before = [leaf(stage) for stage in outputs[host.before]]
    copied = leaf(outputs) | {host.before: before}
    return copied, [stage[host.logits] for stage in (*before, copied)]
