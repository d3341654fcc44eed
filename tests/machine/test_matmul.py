"""oneDNN multiplies float32 only where the result stays float32, and where it is faster."""

import pytest
import torch
from two_processes import run_in_two_processes

import stageinteractor.machine.matmul as module
from stageinteractor.errors import ConfigError
from stageinteractor.machine.matmul import Trial, onednn_products, set_cpu_matmul

RANKS = """
import torch
from detectron2.utils import comm
from omegaconf import OmegaConf

import stageinteractor.machine.matmul as module
from stageinteractor.engine.setup import _set_up_cpu

torch.distributed.init_process_group("gloo")
comm.create_local_process_group(2)
rank = comm.get_rank()
for other, expected in ((2.0, "medium"), (1.0, "highest")):
    module.trial = lambda: module.Trial(8e-7, other if rank else 2.0)
    _set_up_cpu(OmegaConf.create({"device": "cpu", "cpu_matmul": "auto"}))
    assert torch.get_float32_matmul_precision() == expected
    torch.set_float32_matmul_precision("highest")
"""
PRECISION = torch.get_float32_matmul_precision


@pytest.fixture(autouse=True)
def _precision_is_restored(monkeypatch):
    monkeypatch.delenv(module.ENVIRONMENT, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture
def processor(monkeypatch):
    """Let the trial have this result."""

    def use(error: float, speedup: float) -> None:
        monkeypatch.setattr(module, "trial", lambda: Trial(error, speedup))

    return use


@pytest.mark.parametrize(
    ("error", "speedup", "expected"),
    [(8e-7, 2.1, "medium"), (8e-7, 1.0, "highest"), (2e-3, 7.0, "highest")],
)
def test_the_switch_is_taken_where_exact_and_faster(processor, error, speedup, expected):
    processor(error, speedup)
    set_cpu_matmul()
    assert PRECISION() == expected


@pytest.mark.parametrize(("setting", "expected"), [("onednn", "medium"), ("default", "highest")])
def test_either_way_can_be_forced(processor, monkeypatch, setting, expected):
    processor(2e-3, 0.5) if setting == "onednn" else processor(1e-7, 9.0)
    set_cpu_matmul(setting)
    assert PRECISION() == expected
    torch.set_float32_matmul_precision("highest")
    monkeypatch.setenv(module.ENVIRONMENT, setting)
    set_cpu_matmul("auto")
    assert PRECISION() == expected


def test_a_machine_with_a_gpu_is_left_alone(processor, monkeypatch):
    processor(1e-7, 9.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    set_cpu_matmul()
    assert PRECISION() == "highest"


def test_the_choice_of_the_user_stays(processor):
    processor(1e-7, 9.0)
    torch.set_float32_matmul_precision("high")
    assert "'high'" in set_cpu_matmul()
    assert PRECISION() == "high"


@pytest.mark.parametrize(("error", "first"), [(8e-7, True), (2e-3, False)])
def test_a_rank_follows_the_others(processor, error, first):
    processor(error, 2.0)
    choices = []
    line = set_cpu_matmul("auto", lambda choice: choices.append(choice) or False)
    assert choices == [first]  # every rank takes part, whatever its own choice
    assert PRECISION() == "highest"
    assert ("another process" in line) == first


def test_ranks_multiply_in_the_same_way(tmp_path):
    run_in_two_processes(RANKS, tmp_path)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match=r"train\.cpu_matmul"):
        set_cpu_matmul("mkl")


def test_products_of_this_machine_stay_float32():
    set_cpu_matmul("auto")
    a, b = torch.randn(64, 512), torch.randn(512, 256)
    exact = a.double() @ b.double()
    assert (a @ b - exact).abs().max() < 2e-6 * exact.abs().max()


def test_the_trial_leaves_the_setting_as_it_was():
    result = module.trial.__wrapped__()
    assert PRECISION() == "highest"
    assert 0 < result.error < 1e-2
    assert result.speedup > 0
    with onednn_products():
        assert PRECISION() == "medium"


def test_importing_changes_nothing():
    import stageinteractor.engine
    import stageinteractor.modeling
    import stageinteractor.predictor  # noqa: F401

    assert PRECISION() == "highest"
