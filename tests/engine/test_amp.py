"""``train.amp`` chooses the precision by device; inference takes one, too."""

import pytest
import torch
from omegaconf import OmegaConf

from stageinteractor.engine import precision
from stageinteractor.engine.precision import inference_autocast, precision_name
from stageinteractor.errors import ConfigError
from stageinteractor.machine import bfloat16


def name_of(device: str, enabled: bool, dtype: str) -> str:
    train = {"device": device, "amp": {"enabled": enabled, "dtype": dtype}}
    return precision_name(OmegaConf.create(train))


@pytest.mark.parametrize(
    ("device", "enabled", "dtype", "expected"),
    [
        ("cpu", False, "bf16", "off"),
        ("cpu", True, "bf16", "bf16"),
        ("cuda", True, "auto", "fp16"),
        ("cuda:1", True, "fp16", "fp16"),
        ("cuda", True, "bf16", "bf16"),
    ],
)
def test_precision_follows_the_device(device, enabled, dtype, expected):
    assert name_of(device, enabled, dtype) == expected


@pytest.mark.parametrize(("speedup", "expected"), [(4.0, "bf16"), (0.6, "off")])
def test_cpus_take_bfloat16_where_it_is_faster(speedup, expected, monkeypatch, request):
    monkeypatch.setattr(precision, "bfloat16_speedup", lambda: speedup)
    precision._is_fast_on_all_ranks.cache_clear()
    request.addfinalizer(precision._is_fast_on_all_ranks.cache_clear)
    assert name_of("cpu", True, "auto") == expected
    assert name_of("cpu", True, "bf16") == "bf16"


def test_trial_of_bfloat16_is_short():
    with torch.autograd.profiler.profile() as profile:
        assert bfloat16.bfloat16_speedup.__wrapped__() > 0
    products = [event for event in profile.function_events if event.name == "aten::mm"]
    assert len(products) == 2 * bfloat16.REPEATS + 1


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
