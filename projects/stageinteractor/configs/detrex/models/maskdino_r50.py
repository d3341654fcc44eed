"""detrex's MaskDINO R50: 300 queries, 6 encoder and 9 decoder layers, boxes and instance masks.

detrex's own config of it cannot be loaded by detectron2's LazyConfig: it imports Python files by
relative paths.
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detrex.modeling.backbone import BasicStem, ResNet
from projects.maskdino.maskdino import MaskDINO
from projects.maskdino.modeling.criterion import SetCriterion
from projects.maskdino.modeling.matcher import HungarianMatcher
from projects.maskdino.modeling.meta_arch.maskdino_head import MaskDINOHead
from projects.maskdino.modeling.pixel_decoder.maskdino_encoder import MaskDINOEncoder
from projects.maskdino.modeling.transformer_decoder.maskdino_decoder import MaskDINODecoder

DECODER_LAYERS = 9
_maps = {
    f"res{level}": L(ShapeSpec)(channels=128 * 2 ** (level - 1), stride=2**level)
    for level in (2, 3, 4, 5)
}
_losses = ["labels", "masks", "boxes"]
_terms = dict(loss_ce=4.0, loss_mask=5.0, loss_dice=5.0, loss_bbox=5.0, loss_giou=2.0)
_layers = ["", *(f"_{layer}" for layer in range(DECODER_LAYERS))]
_outputs = ["_interm", *_layers, *(f"_dn{layer}" for layer in _layers)]

model = L(MaskDINO)(
    backbone=L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
        stages=L(ResNet.make_default_stages)(depth=50, stride_in_1x1=False, norm="FrozenBN"),
        out_features=["res2", "res3", "res4", "res5"],
        freeze_at=1,
    ),
    sem_seg_head=L(MaskDINOHead)(
        input_shape=_maps,
        num_classes=80,
        pixel_decoder=L(MaskDINOEncoder)(
            input_shape="${..input_shape}",
            transformer_dropout=0.0,
            transformer_nheads=8,
            transformer_dim_feedforward=2048,
            transformer_enc_layers=6,
            conv_dim=256,
            mask_dim=256,
            norm="GN",
            transformer_in_features=["res3", "res4", "res5"],
            common_stride=4,
            num_feature_levels=3,
            total_num_feature_levels=4,
            feature_order="low2high",
        ),
        transformer_predictor=L(MaskDINODecoder)(
            in_channels="${..pixel_decoder.conv_dim}",
            num_classes="${..num_classes}",
            hidden_dim=256,
            num_queries="${model.num_queries}",
            nheads=8,
            dim_feedforward=2048,
            dec_layers=DECODER_LAYERS,
            mask_dim="${..pixel_decoder.mask_dim}",
            enforce_input_project=False,
            two_stage=True,
            dn="seg",
            noise_scale=0.4,
            dn_num=100,
            initialize_box_type="mask2box",
            initial_pred=True,
            learn_tgt=False,
            total_num_feature_levels="${..pixel_decoder.total_num_feature_levels}",
        ),
    ),
    criterion=L(SetCriterion)(
        num_classes="${..sem_seg_head.num_classes}",
        matcher=L(HungarianMatcher)(
            cost_class=4.0,
            cost_mask=5.0,
            cost_dice=5.0,
            num_points="${..num_points}",
            cost_box=5.0,
            cost_giou=2.0,
        ),
        weight_dict={f"{t}{output}": _terms[t] for output in _outputs for t in _terms},
        eos_coef=0.1,
        losses=_losses,
        num_points=12544,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        dn="${..sem_seg_head.transformer_predictor.dn}",
        dn_losses=_losses,
    ),
    num_queries=300,
    object_mask_threshold=0.25,
    overlap_threshold=0.8,
    metadata=None,
    size_divisibility=32,
    sem_seg_postprocess_before_inference=True,
    pixel_mean=[123.675, 116.28, 103.53],
    pixel_std=[58.395, 57.12, 57.375],
    semantic_on=False,
    panoptic_on=False,
    instance_on=True,
    test_topk_per_image=100,
    pano_temp=0.06,
    transform_eval=True,
)
