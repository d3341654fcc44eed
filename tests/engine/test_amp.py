"""``train.amp`` chooses the precision by device; inference takes one, too."""

import pytest
import torch
from omegaconf import OmegaConf

from stageinteractor.engine.precision import inference_autocast, precision_name
from stageinteractor.errors import ConfigError


def name_of(device: str, enabled: bool, dtype: str) -> str:
    train = {"device": device, "amp": {"enabled": enabled, "dtype": dtype}}
    return precision_name(OmegaConf.create(train))


@pytest.mark.parametrize(
    ("device", "enabled", "dtype", "expected"),
    [
        ("cpu", False, "bf16", "off"),
        ("cpu", True, "auto", "bf16"),
        ("cpu", True, "bf16", "bf16"),
        ("cuda", True, "auto", "fp16"),
        ("cuda:1", True, "fp16", "fp16"),
        ("cuda", True, "bf16", "bf16"),
    ],
)
def test_precision_follows_the_device(device, enabled, dtype, expected):
    assert name_of(device, enabled, dtype) == expected


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match=r"train\.amp\.dtype=bf16"):
        name_of("cpu", True, "fp16")


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_inference_rounds_products_on_request(precision, expected):
    with inference_autocast(precision, "cpu"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert not torch.is_autocast_cache_enabled()  # it would keep all rounded weights
    assert product.dtype == expected


@pytest.mark.parametrize(("precision", "advice"), [("fp16", "train.x=bf16"), ("fp8", "float32")])
def test_inference_refuses_what_a_cpu_does_not_have(precision, advice):
    with pytest.raises(ConfigError, match=rf"^train\.x .*{advice}"):
        inference_autocast(precision, "cpu", "train.x")
