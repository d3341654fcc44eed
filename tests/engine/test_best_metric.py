"""A misspelt train.best_metric is refused, or reported where its names are not known beforehand."""

import pytest
from detectron2.config import LazyCall
from omegaconf import OmegaConf

from stageinteractor.engine.best_metric import check_best_metric, report_missing
from stageinteractor.errors import ConfigError
from stageinteractor.evaluation import CocoEvaluator

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
def test_names_of_an_evaluation_are_taken(metric):
    check_best_metric(config(metric))


@pytest.mark.parametrize(
    ("metric", "near"),
    [
        ("bbox/Ap", "bbox/AP"),
        ("AP", "bbox/AP"),
        ("bbox/AP5", "bbox/AP50"),
        ("bbox/AP-bra", "bbox/AP-bar"),
        ("bbox_nms/AP", "bbox/AP"),
        ("", "bbox/AP"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(metric, near):
    with pytest.raises(ConfigError, match=f"train.best_metric .*nearest: .*{near}"):
        check_best_metric(config(metric))


def test_names_follow_nms_and_the_number_of_classes():
    check_best_metric(config("bbox_nms/AP50", nms=0.5))
    with pytest.raises(ConfigError):
        check_best_metric(config("bbox/AP-disc", classes=["disc"]))


class MoreNumbers(CocoEvaluator):
    """An evaluator with numbers of its own."""


def test_an_evaluator_built_upon_ours_may_have_more_numbers():
    cfg = config("bbox/F1")
    cfg.dataloader.evaluator = LazyCall(MoreNumbers)()
    check_best_metric(cfg)


def test_an_evaluator_that_cannot_be_imported_is_named():
    with pytest.raises(ConfigError, match="gone.Evaluator"):
        check_best_metric(config("bbox/AP", "gone.Evaluator"))


def test_of_other_evaluators_the_first_evaluation_tells(caplog):
    check_best_metric(config("bbox/Ap", "detectron2.evaluation.COCOEvaluator"))
    report_missing("bbox/AP", {"bbox": {"AP": 1.0}})
    report_missing("bbox/AP", {})  # of another rank
    assert not caplog.text
    report_missing("bbox/Ap", {"bbox": {"AP": 1.0}})
    assert "train.best_metric 'bbox/Ap'" in caplog.text and "bbox/AP;" in caplog.text
