"""A training that evaluates with and without NMS."""

import json

from stageinteractor.visualization.curves import read_metrics


def test_both_results_are_in_metrics_checkpoints_and_reports(
    call, load_tool, small_run, tmp_path, monkeypatch, capsys
):
    options = ["train.max_iter=2", "train.eval_period=1", "train.best_metric=bbox_nms/AP"]
    call(*options, "dataloader.evaluator.nms_threshold=0.3", *small_run)
    run = tmp_path / "run"
    series = read_metrics(run / "metrics.json")
    assert series["bbox_nms/AP"][0] == series["bbox/AP"][0] != []
    last = json.loads((run / "last_evaluation.json").read_text())["results"]
    assert list(last) == ["bbox", "bbox_nms"]
    assert last["bbox_nms"]["AP"] == series["bbox_nms/AP"][1][-1]
    assert (run / "model_best.pth").is_file()
    counts = [
        len(json.loads((run / f"evaluation/coco_instances_results{suffix}.json").read_text()))
        for suffix in ("", "_nms")
    ]
    assert counts[0] == 8 * 12 > counts[1]  # every query of every image, before and after NMS
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["report.py", str(run), str(run)])
    assert load_tool("report").main() == 0
    head, _, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "AP", "AP50", "AP75", "AP", "after", "NMS"]
    assert row.split()[-1] == f"{last['bbox_nms']['AP']:.1f}"
