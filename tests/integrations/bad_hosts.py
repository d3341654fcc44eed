"""Criteria that the assigner cannot serve, each for one reason, and one that breaks down."""

from __future__ import annotations

import torch
from integrations.toy_hosts import FocalHost, Host, VarifocalHost, hungarian
from torch import nn


class NoMatcherHost(FocalHost):
    def __init__(self, num_classes=4):
        super().__init__(num_classes)
        self.matcher = None


class ClipHost(FocalHost):
    """Matches the frames of a clip one by one, as CO-MOT's criterion does."""

    def initialize_for_single_clip(self, gt_instances):
        raise AssertionError("called")


class NoClassesHost(FocalHost):
    def __init__(self, num_classes=4):
        super().__init__(num_classes)
        del self.num_classes


class NotAModule:
    """Of the right form, but for its class."""

    def matcher(self, outputs, targets):
        return hungarian(outputs, targets)


class OtherKeyHost(FocalHost):
    """Names its class loss as no criterion of DETR does."""

    key = "ce"


class NoHookHost(Host):
    """Class and box losses are one method."""

    def get_loss(self, outputs, targets, num_boxes, layer):
        raise AssertionError("called with other arguments")


class HookOfOtherFormHost(Host):
    """The class loss wants more than outputs, targets, pairs and a number."""

    def loss_labels(self, outputs, targets, indices, num_boxes):
        return {self.key: outputs["sampled_points"].sum()}


class LargestTargetHost(VarifocalHost):
    """Every score is divided by the largest one."""

    def overlaps(self, outputs, targets, indices):
        actual = super().overlaps(outputs, targets, indices)
        return actual / actual.max().clamp(min=1e-6)


class UnionHost(FocalHost):
    use_uni_set = True


class DifferentCopiesHost(FocalHost):
    """Asks for one match an object at the last stage and for two before."""

    def __init__(self, num_classes=4):
        super().__init__(num_classes)
        self.matcher = CopiesMatcher()

    def forward(self, outputs, targets):
        for copies, stage in enumerate([outputs, *outputs["aux_outputs"]]):
            self.matcher(stage, targets, copies)
        return {}


class DifferentTargetsHost(FocalHost):
    """Matches the stages before the last with other objects."""

    def forward(self, outputs, targets):
        self.matcher(outputs, targets)
        for stage in outputs["aux_outputs"]:
            self.matcher(stage, targets[:])
        return {}


class CopiesMatcher(nn.Module):
    def forward(self, outputs, targets, copies=1):
        return hungarian(outputs, targets)


class TwoObjectsMatcher(nn.Module):
    """Gives the first query of every image all objects."""

    def forward(self, outputs, targets):
        every = [torch.arange(len(target["labels"])) for target in targets]
        return [(torch.zeros_like(objects), objects) for objects in every]


class OtherPairsHost(FocalHost):
    """Computes the class loss with pairs that its matcher did not return."""

    def loss_labels(self, outputs, targets, indices, num_boxes):
        return super().loss_labels(outputs, targets, indices, num_boxes)

    def get_loss(self, loss, outputs, targets, indices, num_boxes):
        if loss == "labels":
            indices = [(queries[:1], objects[:1]) for queries, objects in indices]
        return super().get_loss(loss, outputs, targets, indices, num_boxes)


class OwnAssignmentHost(FocalHost):
    """Never asks its matcher."""

    def forward(self, outputs, targets):
        indices, number = hungarian(outputs, targets), self.number_of_boxes(outputs, targets)
        return self.all_losses(outputs, targets, indices, number, "")


class LastStageHost(FocalHost):
    """Leaves out the stages before the last."""

    def forward(self, outputs, targets):
        return super().forward({k: v for k, v in outputs.items() if k != self.before}, targets)


class CastingHost(FocalHost):
    """Gives its matcher a copy of the logits."""

    def forward(self, outputs, targets):
        return super().forward(outputs | {"pred_logits": outputs["pred_logits"] * 1.0}, targets)


class LateCastingHost(FocalHost):
    """Computes its class loss on a copy of the logits, as under mixed precision."""

    def get_loss(self, loss, outputs, targets, indices, num_boxes):
        if loss == "labels":
            outputs = outputs | {"pred_logits": outputs["pred_logits"].double()}
        return super().get_loss(loss, outputs, targets, indices, num_boxes)


class RaisingHost(FocalHost):
    """Breaks down in the middle of its stages."""

    def loss_boxes(self, outputs, targets, indices, num_boxes):
        if outputs.get("breaks"):
            raise RuntimeError("the host broke down")
        return super().loss_boxes(outputs, targets, indices, num_boxes)
