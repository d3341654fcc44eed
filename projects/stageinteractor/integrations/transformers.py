"""Hugging Face transformers: a model's loss function with the cross-stage assigner.

    from stageinteractor.integrations.transformers import use_cross_stage
    use_cross_stage(model)

for models of DETR's kind, for boxes or masks; docs/hosts.md lists them. ``TransformersDetector``
makes such a model a detectron2 model.
"""

from __future__ import annotations

import inspect
import logging
import types
from collections.abc import Callable
from typing import Any

from torch import nn

from ..assigner.interface import Assigner
from ..criterion.class_loss import ClassLoss
from ..errors import MissingDependencyError, UnsupportedHostError
from ..packages import install_extra
from .cross_stage_criterion import CrossStageCriterion
from .label_loss_probe import HOOK_PREFIX

__all__ = ["CrossStageLoss", "require_transformers", "use_cross_stage"]
logger = logging.getLogger(__name__)


def require_transformers() -> None:
    """Raise MissingDependencyError, with what to install, unless transformers can be imported."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs Hugging Face transformers: {install_extra('transformers')}"
        ) from error


def use_cross_stage(
    model: Any,
    assigner: Assigner | None = None,
    normalizer: str = "max",
    log_statistics: bool = False,
    class_loss: ClassLoss | None = None,
    matcher: nn.Module | None = None,
) -> None:
    """Give a detection model a loss function with the assigner, in place.

    Args:
        model: a ``...ForObjectDetection`` or ``...Segmentation`` of transformers.
        assigner, normalizer, log_statistics, class_loss, matcher: see `CrossStageCriterion`.

    Raises:
        MissingDependencyError: transformers is not installed.
        UnsupportedHostError: the model's loss cannot be wrapped, or the assigner has a state, which
            a loss function cannot save.
    """
    require_transformers()
    if isinstance(assigner, nn.Module) and any(True for _ in assigner.buffers()):
        raise UnsupportedHostError(
            f"{type(assigner).__name__} has a state, which loss functions of transformers neither "
            "save nor move: use CrossStageAssigner(keep_own_match=True) for a short training"
        )
    if isinstance(model.loss_function, CrossStageLoss):
        raise UnsupportedHostError("the model's loss function has the assigner already")
    _check_model(model)
    if not model.config.auxiliary_loss:
        logger.warning(
            "%s has auxiliary_loss=False, so its loss gets one decoder stage and the assigner has "
            "nothing to gather: set model.config.auxiliary_loss = True",
            type(model).__name__,
        )
    loss = CrossStageLoss(
        model.loss_function,
        num_stages=model.config.decoder_layers,
        assigner=assigner,
        normalizer=normalizer,
        log_statistics=log_statistics,
        class_loss=class_loss,
        matcher=matcher,
    )
    loss.check(model.config)
    model.loss_function = loss


def _check_model(model: Any) -> None:
    """Raise UnsupportedHostError unless the model has decoder stages and a loss of DETR form."""
    name = type(model).__name__
    forwards = [vars(kind)["forward"] for kind in type(model).__mro__ if "forward" in vars(kind)]
    if not any("loss_function" in inspect.unwrap(f).__code__.co_names for f in forwards):
        raise UnsupportedHostError(
            f"{name} computes no loss from labels in transformers: it cannot be trained there"
        )
    if not hasattr(model.config, "decoder_layers"):
        raise UnsupportedHostError(
            f"{name} has no decoder (config.decoder_layers): its only stage has no other stage to "
            "gather labels from, with auxiliary_loss or without"
        )
    if not hasattr(model.config, "auxiliary_loss"):
        raise UnsupportedHostError(
            f"{name} has no auxiliary losses (config.auxiliary_loss): its loss gets one decoder "
            "stage only"
        )
    if "label_maps" in inspect.signature(model.loss_function).parameters:
        raise UnsupportedHostError(
            f"{name}: the class targets of a box are the tokens of a phrase (label_maps), several "
            "columns of the logits, while cross-stage targets are one column per class"
        )


class _Reached(Exception):
    """The arguments of the criterion are at hand: the rest of a loss function is not needed."""


class CrossStageLoss:
    """A loss function of transformers whose criterion is wrapped.

    Those functions build matcher and criterion in every call. This one runs the same code with one
    global replaced: the name of the criterion's class builds the wrapped criterion. It can be
    pickled and copied if the original function can; the observer is left out.

    Args:
        function: the model's, (logits, labels, device, pred_boxes, config, ...) -> loss, dict of
            losses, auxiliary outputs.
        settings: the keyword arguments of `CrossStageCriterion`.
    """

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        self.settings = settings
        self.criterion: CrossStageCriterion | None = None
        self.observer: Callable[[Any], None] | None = None  # see `CrossStageCriterion`
        scope = function.__globals__
        names = [name for name in function.__code__.co_names if _is_criterion(scope.get(name))]
        if len(names) != 1:
            raise UnsupportedHostError(
                f"{function.__name__} builds no criterion of DETR form (a class with "
                f"{HOOK_PREFIX}*) that could be wrapped"
            )
        self.host = scope[names[0]]
        self.host_name = names[0]
        self.function = function

    def _build(self, *args: Any, **kwargs: Any) -> CrossStageCriterion:
        host = self.host(*args, **kwargs)
        if self.criterion is None:
            self.criterion = CrossStageCriterion(host, **self.settings)
        else:
            self.criterion.criterion = host
        self.criterion.observer = self.observer
        return self.criterion

    def check(self, config: Any) -> None:
        """Build the criterion as a call does, so that what it refuses is refused before training.

        A function that reads the outputs of the model before is checked in its first call.

        Args:
            config: of the model.
        """

        def stop(*args: Any, **kwargs: Any) -> None:
            raise _Reached(args, kwargs)

        values = {"config": config, "device": "cpu"}
        needed = {
            parameter.name: values.get(parameter.name)
            for parameter in inspect.signature(self.function).parameters.values()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            and parameter.default is parameter.empty
        }
        try:
            self._with_criterion(stop)(**needed)
        except _Reached as reached:
            args, kwargs = reached.args
        except (AttributeError, TypeError) as error:
            logger.debug("%s is checked in its first call: %s", self.function.__name__, error)
            return
        self._build(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the original function returns."""
        return self._with_criterion(self._build)(*args, **kwargs)

    def _with_criterion(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """Return the original function with ``build`` in the place of its criterion's class."""
        # Made in every call: a function with other globals cannot be pickled, and a copy of it
        # would still build the criterion of the original.
        host = self.function
        function = types.FunctionType(
            host.__code__,
            {**host.__globals__, self.host_name: build},
            host.__name__,
            host.__defaults__,
            host.__closure__,
        )
        function.__kwdefaults__ = host.__kwdefaults__
        return function

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"observer": None}


def _is_criterion(value: Any) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, nn.Module)
        and any(name.startswith(HOOK_PREFIX) for name in dir(value))
    )
