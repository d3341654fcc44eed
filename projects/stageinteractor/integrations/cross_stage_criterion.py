"""The cross-stage assigner for any third-party criterion of the DETR form (the host).

The host runs unchanged, with two of its methods replaced on the instance: the matcher matches all
decoder stages when it is called for the first one, and the class loss gets the pairs of query and
ground-truth box that the assigner returns. Box losses, denoising queries, encoder outputs and
weights do not change, unless the matcher or the class loss is replaced by one of this package.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..assigner import CrossStageAssigner, HungarianMatcher, QualityTopKMatcher, count_step
from ..assigner.interface import Assigner
from ..assigner.targets import Target
from ..attributes import replaced
from ..criterion.class_loss import ClassLoss
from ..criterion.training_metrics import statistics_are_due, write_statistics
from ..errors import ConfigError, UnsupportedHostError
from .adapted_matcher import AdaptedMatcher
from .host_class_loss import HostClassLoss
from .host_matcher import PositionModulatedHostMatcher
from .host_outputs import LOGITS, Outputs, find_stages, logits_of
from .host_step import Step
from .label_loss_probe import find_label_loss, find_loss_name

logger = logging.getLogger(__name__)
SIGMOID_MATCHERS = (AdaptedMatcher, PositionModulatedHostMatcher)
# Settings of known criteria under which the stages are not matched separately and in order.
REFUSED = {
    "assign_second_stage": "one assignment serves all stages",
    "use_dense_one_to_one": "box losses use the union of all stages' matches",
    "use_position_supervised_loss": "the class loss is normalised by its largest target",
    "use_uni_set": "losses use the union of all stages' matches",
}


class CrossStageCriterion(nn.Module):
    """Wrap a third-party criterion: its class losses get cross-stage targets.

    The host is ``forward(outputs, targets, ...)`` with ``pred_logits`` or ``logits`` (B, N, C),
    ``pred_boxes`` (B, N, 4) cxcywh normalised by the image size, ``aux_outputs`` or
    ``auxiliary_outputs`` (the same of the stages before), a ``matcher``, and a class loss in
    ``loss_labels*``. Other attributes are read from the host and set on it. Paper: section 3.2.

    Args:
        criterion: the host's criterion; it is not changed.
        assigner: by default `CrossStageAssigner` with the published settings.
        normalizer: "max" divides the class loss by the larger of the numbers of matches and of
            labels, as the published model does; "host" by the host's own number.
        num_stages: the number of decoder stages. To be given if the list of auxiliary outputs ends
            with one more entry, the encoder's proposals (RT-DETR); by default all are stages.
        log_statistics: write `assignment_statistics` to detectron2's training metrics.
        class_loss: a `ClassLoss` that replaces the host's class loss everywhere, with the host's
            key; also for denoising queries, proposals and one-to-many queries, with their own
            pairs. Other values that the host's method returns are left out.
        matcher: replaces the host's everywhere.

    Raises:
        UnsupportedHostError: the criterion cannot be wrapped; the message says why.
        ConfigError: ``class_loss`` is no `ClassLoss`.
    """

    criterion: nn.Module

    def __init__(
        self,
        criterion: nn.Module,
        assigner: Assigner | None = None,
        normalizer: str = "max",
        num_stages: int | None = None,
        log_statistics: bool = False,
        class_loss: ClassLoss | None = None,
        matcher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if normalizer not in ("max", "host"):
            raise ValueError(f"normalizer must be 'max' or 'host', got {normalizer!r}")
        _check_host(criterion)
        self.label_loss = find_label_loss(criterion)
        if matcher is not None:
            _check_matcher(matcher, criterion, self.label_loss.multi_label)
        self.own_matcher = matcher
        self.own_class_loss: HostClassLoss | None = None
        if class_loss is not None:
            if not isinstance(class_loss, ClassLoss):
                raise ConfigError(
                    f"class_loss must be a ClassLoss, such as those of common/class_loss.py, got "
                    f"{type(class_loss).__name__}"
                )
            name = find_loss_name(criterion, self.label_loss)
            self.own_class_loss = HostClassLoss(class_loss, name)
        self.assigner = assigner or CrossStageAssigner()
        self.normalizer = normalizer
        self.num_stages = num_stages
        self.proposals_last = True  # whether outputs of the encoder may follow those of the stages
        self.log_statistics = log_statistics
        self.statistics: dict[str, Tensor] = {}
        self.observer: Callable[[Step], None] | None = None  # called with every finished step
        self._warned = False
        self._branches: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
        self.register_state_dict_post_hook(_hide_host)
        self.register_load_state_dict_pre_hook(_show_host)
        self.criterion = criterion  # last: from here on, its attributes are set on it

    def forward(
        self, outputs: Outputs, targets: Sequence[Target], *args: Any, **kwargs: Any
    ) -> Any:
        """Return what the host returns; the arguments are the host's.

        Raises:
            UnsupportedHostError: the host did not call its matcher separately for every stage.
            FloatingPointError: logits or boxes of an image with ground truth are NaN or infinite.
        """
        branch = self._is_branch(outputs)
        stages = [] if branch else find_stages(outputs, self.num_stages, self.proposals_last)
        self._warn_of_one_stage(len(stages))
        host = self.criterion
        # a module is called through its forward; anything else is called as it is
        owner, name = (
            (host.matcher, "forward") if isinstance(host.matcher, nn.Module) else (host, "matcher")
        )
        step = Step(
            stages,
            targets,
            self.own_matcher or getattr(owner, name),
            self.assigner,
            self.label_loss,
            self.normalizer,
            self.own_class_loss,
        )
        hooks = {hook: step.label_loss(getattr(host, hook)) for hook in self.label_loss.hooks}
        with replaced(owner, **{name: step.match}), replaced(host, **hooks):
            losses = host(outputs, targets, *args, **kwargs)
        step.check_done()
        if branch:
            return losses
        if self.training:
            count_step(self)
        if self.observer is not None:
            self.observer(step)
        if self.log_statistics and statistics_are_due():
            self.statistics = step.statistics()
            write_statistics(self.statistics)
        return losses

    def _warn_of_one_stage(self, num_stages: int) -> None:
        if num_stages == 1 and not self._warned:
            logger.warning(
                "%s got one decoder stage only, so there is no other stage to gather labels from: "
                "turn on its auxiliary losses (aux_loss=True, or auxiliary_loss=True)",
                type(self.criterion).__name__,
            )
            self._warned = True

    def _is_branch(self, outputs: Outputs) -> bool:
        """Return whether these are a second group of queries of the previous call's outputs.

        H-Deformable-DETR calls its criterion once more for its one-to-many queries, whose logits
        were in the first call's outputs under other keys.
        """
        logits = logits_of(outputs)
        if self._branches.get(id(logits)) is logits:
            return True
        self._branches.clear()
        for key, value in outputs.items():
            if isinstance(value, Tensor) and key not in LOGITS:
                self._branches[id(value)] = value
        return False

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "criterion":
                raise
            return getattr(self.criterion, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the host on the host, as it is read from there."""
        criterion = vars(self).get("_modules", {}).get("criterion")
        own = name in vars(self) or name in vars(self).get("_modules", {})
        if criterion is None or own or not hasattr(criterion, name):
            super().__setattr__(name, value)
        else:
            setattr(criterion, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out weak references and the observer, which cannot be pickled."""
        return {key: value for key, value in vars(self).items() if key != "_branches"} | {
            "observer": None
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._branches = weakref.WeakValueDictionary()


def _check_matcher(matcher: nn.Module, criterion: Any, multi_label: bool) -> None:
    """Raise UnsupportedHostError if a matcher cannot take the place of the criterion's own."""
    name = f"{type(criterion).__name__}: {type(matcher).__name__}"
    if isinstance(matcher, HungarianMatcher | QualityTopKMatcher):
        raise UnsupportedHostError(
            f"{name} is not called as matchers of criteria are: wrap it in AdaptedMatcher"
        )
    if isinstance(matcher, SIGMOID_MATCHERS) and not multi_label:
        raise UnsupportedHostError(
            f"{name} takes the scores of a sigmoid, and the logits of this criterion are those of "
            "a softmax"
        )
    with_masks = any("mask" in key for key in vars(criterion.matcher))
    if with_masks and isinstance(matcher, PositionModulatedHostMatcher):
        raise UnsupportedHostError(
            f"{name} has no mask costs, and the criterion's own matcher has: wrap that one in "
            "PositionModulatedMaskMatcher"
        )


def _check_host(criterion: nn.Module) -> None:
    name = type(criterion).__name__
    if not isinstance(criterion, nn.Module):
        raise UnsupportedHostError(f"{name} is no torch.nn.Module: derive it from that class")
    if isinstance(criterion, CrossStageCriterion):
        raise UnsupportedHostError("the criterion has the cross-stage assigner already")
    if not callable(getattr(criterion, "matcher", None)):
        raise UnsupportedHostError(f"{name} has no matcher: it is not a criterion of DETR form")
    if hasattr(criterion, "initialize_for_single_clip"):
        raise UnsupportedHostError(
            f"{name} follows objects through the frames of a clip (CO-MOT): it is matched frame by "
            "frame in the model's forward, and its queries carry their ground truth with them"
        )
    for setting, reason in REFUSED.items():
        if getattr(criterion, setting, False):
            raise UnsupportedHostError(f"{name} has {setting}=True: {reason}")


def _hide_host(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give the host's buffers the keys that they have without the wrapper."""
    for key in [key for key in state if key.startswith(f"{prefix}criterion.")]:
        state[prefix + key.removeprefix(f"{prefix}criterion.")] = state.pop(key)


def _show_host(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Read the host's buffers from those keys."""
    assert isinstance(module, CrossStageCriterion)
    for name in module.criterion.state_dict():
        if prefix + name in state:
            state[f"{prefix}criterion.{name}"] = state.pop(prefix + name)
