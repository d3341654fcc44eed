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


def deformable_detr(**changes):
    return transformers.DeformableDetrForObjectDetection(
        transformers.DeformableDetrConfig(
            **{
                "backbone_config": resnet(),
                "num_labels": 3,
                "num_queries": 12,
                "num_feature_levels": 3,
                "d_model": 32,
                "encoder_layers": 1,
                "decoder_layers": 3,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "decoder_ffn_dim": 32,
                "auxiliary_loss": True,
                "with_box_refine": True,
            }
            | changes
        )
    )


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


def d_fine(**changes):
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[8, 8, 16, 16],
        stage_in_channels=[8, 8, 8, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 8, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    return transformers.DFineForObjectDetection(
        transformers.DFineConfig(backbone_config=backbone, **rt_family(**changes))
    )


MODELS = {"deformable_detr": deformable_detr, "rt_detr": rt_detr, "d_fine": d_fine}
