"""Everything that can be read reaches every sink once; what cannot is told and counted."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from stageinteractor.errors import DataError
from stageinteractor.prediction import Frame, ImageFiles, find_sources, predict_all
from stageinteractor.prediction.sinks import image_folder


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
def kept():
    """A list, and a sink that adds to it what it is given."""
    pairs = []

    @contextmanager
    def sink():
        yield lambda frame, found: pairs.append((frame, found))

    return pairs, sink()


def test_every_picture_reaches_the_sinks_in_order(folder, predictor, kept):
    pairs, sink = kept
    photos = folder("a.png", "b.png", "c.png")
    summary = predict_all(predictor, find_sources([photos]), [sink])
    assert [(frame.name, frame.image_id) for frame, _ in pairs] == [
        ("a.png", 1),
        ("b.png", 2),
        ("c.png", 3),
    ]
    assert [len(found) for _, found in pairs] == [2, 2, 2]
    assert (summary.pictures, summary.detections, summary.faults) == (3, 6, [])


@pytest.mark.parametrize(("size", "batches"), [(1, [1, 1, 1, 1]), (2, [2, 1, 1]), (9, [4])])
def test_batches_leave_out_what_cannot_be_read(folder, predictor, kept, capsys, size, batches):
    pairs, sink = kept
    photos = Path(folder("a.png", "b.png", "c.png", "d.png", "e.png"))
    (photos / "c.png").write_bytes(b"not a picture")
    summary = predict_all(predictor, find_sources([str(photos)]), [sink], size)
    assert predictor.model.batches == batches
    assert [frame.name for frame, _ in pairs] == ["a.png", "b.png", "d.png", "e.png"]
    assert [frame.image_id for frame, _ in pairs] == [1, 2, 4, 5]
    assert summary.pictures == 4 and len(summary.faults) == 1
    told = capsys.readouterr()
    assert f"skipped: {photos}/c.png: cannot be read: not an image of a known kind" in told.err
    assert told.out == ""


def test_nothing_that_can_be_read(folder, predictor, kept):
    photos = Path(folder("a.png"))
    (photos / "a.png").write_bytes(b"")
    summary = predict_all(predictor, find_sources([str(photos)]), [kept[1]])
    assert (summary.pictures, len(summary.faults), predictor.model.batches) == (0, 1, [])


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("000000000139.jpg", "000000000285.png"), [139, 285]),
        (("x/7.png", "y/5.png"), [7, 5]),
        (("x/7.png", "y/07.png"), [1, 2]),
        (("7.png", "b.png"), [1, 2]),
    ],
)
def test_image_ids_are_the_numbers_that_file_names_are(folder, predictor, kept, names, wanted):
    pairs, sink = kept
    predict_all(predictor, find_sources([folder(*names)]), [sink])
    assert [frame.image_id for frame, _ in pairs] == wanted


def test_the_bar_counts_images_towards_their_number(folder, predictor, kept, capsys):
    predict_all(predictor, find_sources([folder("a.png", "b.png")]), [kept[1]])
    assert "2/2" in capsys.readouterr().err.split("\r")[-1]


def test_sinks_are_closed_when_something_fails(folder, predictor):
    closed = []

    @contextmanager
    def failing():
        def write(frame: Frame, found) -> None:
            raise RuntimeError(frame.name)

        try:
            yield write
        finally:
            closed.append(True)

    sources = find_sources([folder("a.png")])
    with pytest.raises(RuntimeError, match=r"a\.png"):
        predict_all(predictor, sources, [failing()])
    assert closed == [True]


def test_sources_may_be_of_ones_own(predictor, gray, tmp_path: Path):
    class Shades:
        is_video = False
        length = None

        def __iter__(self):
            yield from (Frame(f"{level}.png", gray(level)) for level in (10, 20))

    sources = [Shades(), ImageFiles([])]
    predict_all(predictor, sources, [image_folder(tmp_path, predictor.classes)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10.png", "20.png"]


# One bad input


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
def test_an_image_that_the_model_cannot_take_is_skipped_by_name(
    predictor, kept, gray, tmp_path: Path, capsys, error, size
):
    for name, width in (("a.png", 40), ("b.png", 50), ("c.png", 40)):
        gray(size=(width, 30)).save(tmp_path / name)
    predictor.model = Picky(error, predictor.model)
    pairs, sink = kept
    summary = predict_all(predictor, find_sources([str(tmp_path)]), [sink], size)
    assert [frame.name for frame, _ in pairs] == ["a.png", "c.png"]
    assert len(summary.faults) == 1
    assert f"skipped: {tmp_path}/b.png: " in capsys.readouterr().err


def test_an_image_that_one_sink_cannot_take_reaches_the_others(predictor, kept, gray, tmp_path):
    pairs, sink = kept
    gray(size=(70_000, 10)).save(tmp_path / "wide.png")
    (tmp_path / "wide.png").rename(tmp_path / "wide.jpg")  # JPEG has at most 65,500 a side
    gray().save(tmp_path / "z.png")
    sinks = [image_folder(tmp_path / "out", predictor.classes), sink]
    summary = predict_all(predictor, find_sources([str(tmp_path)]), sinks)
    assert [frame.name for frame, _ in pairs] == ["wide.jpg", "z.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["z.png"]
    assert len(summary.faults) == 1 and "wide.jpg" in summary.faults[0]


def test_no_memory_to_draw_an_image_names_it(predictor, kept, gray, tmp_path, capsys):
    pairs, sink = kept
    for name in ("a.png", "b.png"):
        gray().save(tmp_path / name)

    @contextmanager
    def greedy():
        def write(frame, found):
            if frame.name == "a.png":
                raise MemoryError

        yield write

    summary = predict_all(predictor, find_sources([str(tmp_path)]), [greedy(), sink])
    assert [frame.name for frame, _ in pairs] == ["a.png", "b.png"]
    assert summary.faults == [f"{tmp_path}/a.png: there is not enough memory for it"]


def test_an_image_whose_drawn_name_is_too_long_is_skipped(predictor, gray, tmp_path: Path):
    names = ["a" * 251 + ".tif", "b.tif"]
    for name in names:
        gray().save(tmp_path / name)
    sink = image_folder(tmp_path / "out", predictor.classes)
    summary = predict_all(predictor, find_sources([str(tmp_path)]), [sink])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.tif.jpg"]
    assert len(summary.faults) == 1


def test_a_skipped_name_is_printable(predictor, kept, tmp_path: Path, capsys):
    (tmp_path / "\x1b[2Jcat.png").write_bytes(b"not an image")
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"not an image")
    predict_all(predictor, find_sources([str(tmp_path)]), [kept[1]])
    skipped = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert "\\x1b[2Jcat.png" in "".join(skipped) and "caf\\udce9.png" in "".join(skipped)
    assert "\x1b[2J" not in "".join(skipped)
