"""Tiny models of transformers, with random weights."""

import transformers


def resnet(*features):
    return transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=list(features) or ["stage2", "stage3", "stage4"],
    )


def rt_resnet():
    return transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def detr(name, **changes):
    """A model of DETR's family, of the name of its class without "ForObjectDetection"."""
    settings = {
        "backbone_config": resnet("stage4"),
        "num_labels": 3,
        "num_queries": 12,
        "hidden_size" if name == "DabDetr" else "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "auxiliary_loss": True,
    }
    config = getattr(transformers, f"{name}Config")(**settings | changes)
    return getattr(transformers, f"{name}ForObjectDetection")(config)


def deformable_detr(**changes):
    settings = {"backbone_config": resnet(), "num_feature_levels": 3, "with_box_refine": True}
    return detr("DeformableDetr", **settings | changes)


def rt_family(**changes):
    return {
        "num_labels": 3,
        "num_queries": 12,
        "d_model": 32,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [8, 16, 16],
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_in_channels": [32, 32, 32],
        "decoder_ffn_dim": 32,
        "decoder_attention_heads": 2,
        "decoder_layers": 3,
        "num_denoising": 10,
        "hidden_expansion": 0.5,
    } | changes


def rt_detr(**changes):
    return transformers.RTDetrForObjectDetection(
        transformers.RTDetrConfig(backbone_config=rt_resnet(), **rt_family(**changes))
    )


def hgnet():
    return transformers.HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[8, 8, 16, 16],
        stage_in_channels=[8, 8, 8, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 8, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )


def d_fine(**changes):
    return transformers.DFineForObjectDetection(
        transformers.DFineConfig(backbone_config=hgnet(), **rt_family(**changes))
    )


def deim_v2(**changes):
    return transformers.Deimv2ForObjectDetection(
        transformers.Deimv2Config(backbone_config=hgnet(), **rt_family(**changes))
    )


def lw_detr(**changes):
    """Of 12 queries per group; images must have a multiple of 64 pixels per side."""
    return transformers.LwDetrForObjectDetection(
        transformers.LwDetrConfig(
            **{
                "backbone_config": transformers.LwDetrViTConfig(
                    hidden_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    window_block_indices=[0],
                    out_indices=[1, 2],
                ),
                "projector_scale_factors": [1.0],
                "num_labels": 3,
                "num_queries": 12,
                "d_model": 32,
                "num_feature_levels": 1,
                "decoder_layers": 3,
                "decoder_self_attention_heads": 2,
                "decoder_cross_attention_heads": 2,
                "decoder_ffn_dim": 32,
                "auxiliary_loss": True,
            }
            | changes
        )
    )


MODELS = {"deformable_detr": deformable_detr, "rt_detr": rt_detr, "d_fine": d_fine}


def rf_detr_config(**changes):
    """Images must have a multiple of 56 pixels per side."""
    backbone = transformers.RfDetrDinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=112,
        num_windows=2,
        out_features=["stage1", "stage2"],
    )
    return transformers.RfDetrConfig(
        **{
            "backbone_config": backbone,
            "num_labels": 10,
            "num_queries": 12,
            "d_model": 32,
            "group_detr": 2,
            "decoder_layers": 2,
            "decoder_self_attention_heads": 2,
            "decoder_cross_attention_heads": 2,
            "decoder_ffn_dim": 32,
        }
        | changes
    )


def rf_detr(**changes):
    return transformers.RfDetrForObjectDetection(rf_detr_config(**changes))


def rf_detr_segmentation(**changes):
    return transformers.RfDetrForInstanceSegmentation(rf_detr_config(**changes))


def detr_segmentation(**changes):
    """DETR with its mask head; its loss has a softmax over classes."""
    return transformers.DetrForSegmentation(
        transformers.DetrConfig(
            **{
                "backbone_config": resnet("stage1", "stage2", "stage3", "stage4"),
                "num_labels": 10,
                "num_queries": 12,
                "d_model": 256,  # the mask head divides it by 16 and 8
                "encoder_layers": 1,
                "decoder_layers": 2,
                "encoder_attention_heads": 8,
                "decoder_attention_heads": 8,
                "encoder_ffn_dim": 32,
                "decoder_ffn_dim": 32,
                "auxiliary_loss": True,
            }
            | changes
        )
    )


NEWER = {  # model, side of its images
    "deim_v2": (lambda: deim_v2(use_dense_one_to_one=False), 64),
    "lw_detr": (lambda: lw_detr(group_detr=2), 64),
    "rf_detr": (lambda: rf_detr(num_labels=3), 112),
    "table_transformer": (lambda: detr("TableTransformer"), 64),
}
SEGMENTATION = {"rf_detr": (rf_detr_segmentation, 56), "detr": (detr_segmentation, 32)}
