"""`train.best_metric`: names that are refused, and the checkpoint that becomes model_best.pth."""

from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from torch import nn

from stageinteractor.engine.best_metric import BestCheckpoint, check_best_metric, report_missing
from stageinteractor.engine.checkpointing import AtomicCheckpointer
from stageinteractor.engine.weights import read_checkpoint
from stageinteractor.errors import ConfigError, DataError

OURS = "stageinteractor.evaluation.CocoEvaluator"


def config(metric, target=OURS, classes=("disc", "bar"), nms=None):
    return OmegaConf.create(
        {
            "train": {"best_metric": metric},
            "dataset": {"class_names": list(classes)},
            "dataloader": {"evaluator": {"_target_": target, "nms_threshold": nms}},
        }
    )


@pytest.mark.parametrize("metric", ["bbox/AP", "bbox/AR100", "bbox/APs", "bbox/AP-bar"])
def test_metrics_of_our_evaluator_are_accepted(metric):
    check_best_metric(config(metric))


@pytest.mark.parametrize(
    ("metric", "nearest"),
    [
        ("bbox/Ap", "bbox/AP"),
        ("AP", "bbox/AP"),
        ("bbox/AP5", "bbox/AP50"),
        ("bbox/AP-bra", "bbox/AP-bar"),
        ("bbox_nms/AP", "bbox/AP"),
        ("", "bbox/AP"),
    ],
)
def test_misspelt_metric_is_refused_with_the_nearest(metric, nearest):
    with pytest.raises(ConfigError, match=f"train.best_metric .*{nearest}"):
        check_best_metric(config(metric))


def test_metrics_depend_on_nms_and_number_of_classes():
    check_best_metric(config("bbox_nms/AP50", nms=0.5))
    with pytest.raises(ConfigError):
        check_best_metric(config("bbox/AP-disc", classes=["disc"]))


def test_missing_metric_of_another_evaluator_is_logged(caplog):
    check_best_metric(config("bbox/Ap", "detectron2.evaluation.COCOEvaluator"))
    report_missing("bbox/AP", {"bbox": {"AP": 1.0}})
    report_missing("bbox/AP", {})  # of another rank
    assert not caplog.text
    report_missing("bbox/Ap", {"bbox": {"AP": 1.0}})
    assert "train.best_metric 'bbox/Ap'" in caplog.text and "bbox/AP;" in caplog.text


@pytest.fixture
def checkpointer(tmp_path):
    return AtomicCheckpointer(nn.Linear(2, 1), str(tmp_path))


def evaluate(hook, *values):
    """Give a hook the values of evaluations at (iteration, value); yield after each."""
    with EventStorage(values[0][0]) as storage:
        hook.trainer = SimpleNamespace(storage=storage, start_iter=values[0][0] - 1)
        hook.before_train()
        for iteration, value in values:
            storage.put_scalar("bbox/AP", value, cur_iter=iteration)
            hook.after_step()
            hook.after_step()  # the same evaluation does not count twice
            yield


def test_best_checkpoint_is_kept_across_a_resume(checkpointer, tmp_path):
    def best_values(resume, *values):
        hook = BestCheckpoint(checkpointer, "bbox/AP", resume)
        return [
            read_checkpoint(tmp_path / "model_best.pth")["best_value"]
            for _ in evaluate(hook, *values)
        ]

    assert best_values(False, (10, 3.0), (20, 5.0), (30, 4.0)) == [3.0, 5.0, 5.0]
    assert best_values(True, (40, 4.5), (50, 6.0)) == [5.0, 6.0]
    assert best_values(False, (10, 1.0)) == [1.0]


def test_metrics_of_the_resumed_checkpoint_are_ignored(checkpointer, tmp_path):
    hook = BestCheckpoint(checkpointer, "bbox/AP", resume=True)
    with EventStorage(20) as storage:
        storage.put_scalar("bbox/AP", 9.0, cur_iter=10)
        hook.trainer = SimpleNamespace(storage=storage, start_iter=20)
        hook.before_train()
        hook.after_step()
        assert not list(tmp_path.iterdir())
        storage.put_scalar("bbox/AP", 5.0, cur_iter=19)  # of the checkpoint's last iteration
        hook.after_step()
    assert hook.best == 5.0


def test_best_value_of_another_metric_is_ignored(checkpointer, caplog):
    checkpointer.save("model_best", iteration=1, best_value=60.0, best_metric="bbox/AP50")
    assert BestCheckpoint(checkpointer, "bbox/AP50", resume=True).best == 60.0
    assert BestCheckpoint(checkpointer, "bbox/AP", resume=True).best == float("-inf")
    assert "bbox/AP50" in caplog.text


@pytest.mark.parametrize("value", [None, "high", float("nan"), [1]])
def test_best_value_that_is_no_number_is_refused(checkpointer, value):
    checkpointer.save("model_best", iteration=1, best_value=value)
    with pytest.raises(DataError, match=r"model_best\.pth: best_value"):
        BestCheckpoint(checkpointer, "bbox/AP", resume=True)


def test_metric_that_is_nan_is_logged_and_not_best(checkpointer, tmp_path, caplog):
    for _ in evaluate(BestCheckpoint(checkpointer, "bbox/AP", False), (4, float("nan"))):
        pass
    assert "bbox/AP is NaN" in caplog.text and not list(tmp_path.iterdir())


def test_evaluator_that_cannot_be_imported_is_named():
    with pytest.raises(ConfigError, match="gone.Evaluator"):
        check_best_metric(config("bbox/AP", "gone.Evaluator"))
