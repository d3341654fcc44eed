"""What a model of ours takes for duplicate removal, and how the layer is trained by itself.

Behind a detector in training: ``model.update(parts)``. Behind a trained one: also
``model["_target_"] = FrozenStageInteractor``, this optimizer and ``train.init_checkpoint``.
"""

from detectron2.config import LazyCall as L
from torch.optim import AdamW

from stageinteractor import get_config
from stageinteractor.assigner import HungarianMatcher
from stageinteractor.criterion import SuppressorLoss
from stageinteractor.engine.optim import param_groups
from stageinteractor.modeling import DuplicateSuppressor, NewLogits

parts = dict(
    suppressor=L(DuplicateSuppressor)(
        embed_dim="${..decoder.embed_dim}",
        num_classes="${..decoder.num_classes}",
        num_heads=8,
        feedforward_dim="${..decoder.feedforward_dim}",
        num_layers=1,
        num_tokens=10,
        head=NewLogits,  # ResidualLogits: the detector's own scores at the start
        sees_itself=True,
        detach=True,  # False: its gradient reaches the detector
    ),
    suppressor_loss=L(SuppressorLoss)(
        matcher=L(HungarianMatcher)(
            cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, alpha=0.25, gamma=2.0
        ),
        class_loss=get_config("common/class_loss.py").varifocal,
        weight=1.0,
    ),
)

optimizer = L(AdamW)(
    params=L(param_groups)(lr="${..lr}", backbone_lr_factor=1.0, no_decay=[]),
    lr=1e-3,
    betas=(0.9, 0.999),
    weight_decay=1e-4,
)
