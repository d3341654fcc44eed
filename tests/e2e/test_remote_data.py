"""A training whose images come from a web server, its validation from shards there."""

from web_folder import served

from stageinteractor.cli.shards import main as shards


def test_training_reads_urls_and_shards(call, small_run, shapes_set, tmp_path):
    web = tmp_path / "web"
    web.mkdir()
    (web / "shapes").symlink_to(shapes_set)
    arguments = [str(shapes_set / "val.json"), str(shapes_set / "val")]
    assert shards([*arguments, "--to", str(web / "shards/val")]) == 0
    with served(web) as url:
        data = [
            f"dataset.train.json={url}/shapes/train.json",
            f"dataset.train.images={url}/shapes/train",
            f"dataset.val.json={url}/shapes/val.json",
            f"dataset.val.images={url}/shards/val.index.json",
        ]
        short = ["train.max_iter=2", "model.decoder.num_stages=2"]
        call(*small_run, *data, *short, "dataloader.train.num_workers=1")
    assert (tmp_path / "run/evaluation/coco_instances_results.json").is_file()
    assert "bbox/AP" in (tmp_path / "run/metrics.json").read_text()
