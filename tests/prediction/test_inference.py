"""Every readable frame reaches every sink once; others are reported and counted."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from stageinteractor.errors import DataError
from stageinteractor.prediction import Frame, ImageFiles, find_sources, predict_all
from stageinteractor.prediction.sinks import image_sink


@pytest.fixture
def folder(tmp_path: Path, gray):
    """A function that fills a folder with images of these names."""

    def make(*names: str) -> str:
        for name in names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            gray().save(path)
        return str(tmp_path / "photos")

    return make


@pytest.fixture
def recorded():
    """A list, and a sink that appends to it what it receives."""
    pairs = []

    @contextmanager
    def sink():
        yield lambda frame, instances: pairs.append((frame, instances))

    return pairs, sink()


def test_every_image_reaches_the_sinks_in_order(folder, predictor, recorded):
    pairs, sink = recorded
    photos = folder("a.png", "b.png", "c.png")
    summary = predict_all(predictor, find_sources([photos]), [sink])
    assert [(frame.name, frame.image_id) for frame, _ in pairs] == [
        ("a.png", 1),
        ("b.png", 2),
        ("c.png", 3),
    ]
    assert [len(instances) for _, instances in pairs] == [2, 2, 2]
    assert (summary.images, summary.detections, summary.errors) == (3, 6, {})


@pytest.mark.parametrize(("size", "batches"), [(1, [1, 1, 1, 1]), (2, [2, 1, 1]), (9, [4])])
def test_batches_skip_unreadable_images(folder, predictor, recorded, capsys, size, batches):
    pairs, sink = recorded
    photos = Path(folder("a.png", "b.png", "c.png", "d.png", "e.png"))
    (photos / "c.png").write_bytes(b"not an image")
    summary = predict_all(predictor, find_sources([str(photos)]), [sink], size)
    assert predictor.model.batches == batches
    assert [frame.name for frame, _ in pairs] == ["a.png", "b.png", "d.png", "e.png"]
    assert [frame.image_id for frame, _ in pairs] == [1, 2, 4, 5]
    assert summary.images == 4 and len(summary.errors) == 1
    output = capsys.readouterr()
    assert f"skipped: {photos}/c.png: " in output.err
    assert output.out == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("000000000139.jpg", "000000000285.png"), [139, 285]),
        (("x/7.png", "y/5.png"), [7, 5]),
        (("x/7.png", "y/07.png"), [1, 2]),
        (("7.png", "b.png"), [1, 2]),
    ],
)
def test_image_ids_are_the_numbers_of_the_file_names(folder, predictor, recorded, names, expected):
    pairs, sink = recorded
    predict_all(predictor, find_sources([folder(*names)]), [sink])
    assert [frame.image_id for frame, _ in pairs] == expected


def test_progress_bar_counts_images(folder, predictor, recorded, capsys):
    predict_all(predictor, find_sources([folder("a.png", "b.png")]), [recorded[1]])
    assert "2/2" in capsys.readouterr().err.split("\r")[-1]


def test_sinks_are_closed_after_an_error(folder, predictor):
    closed = []

    @contextmanager
    def failing():
        def write(frame: Frame, instances) -> None:
            raise RuntimeError(frame.name)

        try:
            yield write
        finally:
            closed.append(True)

    sources = find_sources([folder("a.png")])
    with pytest.raises(RuntimeError, match=r"a\.png"):
        predict_all(predictor, sources, [failing()])
    assert closed == [True]


def test_custom_source(predictor, gray, tmp_path: Path):
    class Shades:
        is_video = False
        length = None

        def __iter__(self):
            yield from (Frame(f"{level}.png", gray(level)) for level in (10, 20))

    sources = [Shades(), ImageFiles([])]
    predict_all(predictor, sources, [image_sink(tmp_path, predictor.classes)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10.png", "20.png"]


# One invalid input


class Picky(nn.Module):
    """Refuses images of some width with an error."""

    def __init__(self, error: Exception, inner: nn.Module) -> None:
        super().__init__()
        self.error, self.inner = error, inner

    def forward(self, batched_inputs):
        if any(item["width"] == 50 for item in batched_inputs):
            raise self.error
        return self.inner(batched_inputs)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("error", [DataError("odd"), MemoryError(), torch.OutOfMemoryError("50")])
def test_image_that_the_model_rejects_is_skipped(
    predictor, recorded, gray, tmp_path: Path, capsys, error, size
):
    for name, width in (("a.png", 40), ("b.png", 50), ("c.png", 40)):
        gray(size=(width, 30)).save(tmp_path / name)
    predictor.model = Picky(error, predictor.model)
    pairs, sink = recorded
    summary = predict_all(predictor, find_sources([str(tmp_path)]), [sink], size)
    assert [frame.name for frame, _ in pairs] == ["a.png", "c.png"]
    assert len(summary.errors) == 1
    assert f"skipped: {tmp_path}/b.png: " in capsys.readouterr().err


def test_image_that_one_sink_rejects_reaches_the_others(predictor, recorded, gray, tmp_path):
    pairs, sink = recorded
    gray(size=(70_000, 10)).save(tmp_path / "wide.png")
    (tmp_path / "wide.png").rename(tmp_path / "wide.jpg")  # JPEG has at most 65,500 pixels per side
    gray().save(tmp_path / "z.png")
    sinks = [image_sink(tmp_path / "out", predictor.classes), sink]
    summary = predict_all(predictor, find_sources([str(tmp_path)]), sinks)
    assert [frame.name for frame, _ in pairs] == ["wide.jpg", "z.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["z.png"]
    assert len(summary.errors) == 1 and "wide.jpg" in next(iter(summary.errors))


def test_image_without_memory_to_draw_it_is_skipped(predictor, recorded, gray, tmp_path, capsys):
    pairs, sink = recorded
    for name in ("a.png", "b.png"):
        gray().save(tmp_path / name)

    @contextmanager
    def greedy():
        def write(frame, instances):
            if frame.name == "a.png":
                raise MemoryError

        yield write

    summary = predict_all(predictor, find_sources([str(tmp_path)]), [greedy(), sink])
    assert [frame.name for frame, _ in pairs] == ["a.png", "b.png"]
    (error,) = summary.errors
    assert error.startswith(f"{tmp_path}/a.png: ") and "memory" in error


def test_image_whose_drawn_name_is_too_long_is_skipped(predictor, gray, tmp_path: Path):
    names = ["a" * 251 + ".tif", "b.tif"]
    for name in names:
        gray().save(tmp_path / name)
    sink = image_sink(tmp_path / "out", predictor.classes)
    summary = predict_all(predictor, find_sources([str(tmp_path)]), [sink])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.tif.jpg"]
    assert len(summary.errors) == 1
