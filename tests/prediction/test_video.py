"""Videos are read frame by frame and written with their duration."""

import os
import signal
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from stageinteractor.errors import DataError, MissingDependencyError
from stageinteractor.prediction import ClassMetadata, Frame, find_sources, predict_all
from stageinteractor.prediction.sinks import image_sink
from stageinteractor.prediction.video import VideoFile, Webcam, require_cv2, video_sink

CLASSES = ClassMetadata(("cat", "dog"))


def read(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_frames_are_in_order_with_their_times(tmp_path: Path, make_video, suffix: str):
    source = VideoFile("clip", make_video(tmp_path / f"clip{suffix}"))
    frames = list(source)
    assert source.length == 8 and source.fps == 10 and source.is_video
    assert [frame.number for frame in frames] == list(range(8))
    assert [frame.seconds for frame in frames] == [number / 10 for number in range(8)]
    assert all(frame.image.size == (32, 24) for frame in frames)
    grays = [np.asarray(frame.image).mean() for frame in frames]
    np.testing.assert_allclose(grays, np.arange(8) * 10, atol=5)


def test_colours_are_rgb(tmp_path: Path):
    writer = cv2.VideoWriter(
        str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24)
    )
    writer.write(np.full((24, 32, 3), (0, 0, 200), np.uint8))  # OpenCV's order
    writer.release()
    (frame,) = VideoFile("red.avi", tmp_path / "red.avi")
    red, green, blue = np.asarray(frame.image).mean((0, 1))
    assert red > 190 and green < 10 and blue < 10


def test_file_that_is_no_video_is_a_frame_with_an_error(tmp_path: Path):
    (tmp_path / "clip.mp4").write_text("words")
    source = VideoFile("clip.mp4", tmp_path / "clip.mp4")
    (frame,) = source
    assert source.length == 1 and frame.image is None
    assert frame.error == f"{tmp_path}/clip.mp4: cannot be read as a video"


def test_truncated_video_ends_with_an_error(tmp_path: Path, make_video):
    path = Path(make_video(tmp_path / "clip.avi", count=60))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = VideoFile("clip.avi", path)
    source.length = 60  # as a container with its index in front gives it
    *frames, last = source
    assert 5 < len(frames) < 40 and all(frame.image for frame in frames)
    assert last.error == f"{path}: only {len(frames)} of 60 frames can be read"


def test_video_of_too_many_pixels_is_not_decoded(tmp_path: Path, make_video, monkeypatch):
    monkeypatch.setattr("stageinteractor.prediction.video.MAX_PIXELS", 32 * 24 - 1)
    monkeypatch.setattr("stageinteractor.prediction.video._images", None)  # not read
    (frame,) = VideoFile("clip.avi", make_video(tmp_path / "clip.avi"))
    assert frame.image is None
    assert frame.error.startswith(f"{tmp_path}/clip.avi: 32x24 ")


def test_frames_of_too_many_pixels_are_skipped(
    tmp_path: Path, make_video, monkeypatch, predictor, gray
):
    make_video(tmp_path / "clip.avi", count=2)
    gray(size=(10, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr("stageinteractor.data.image_io.MAX_PIXELS", 32 * 24 - 1)
    summary = predict_all(predictor, find_sources([str(tmp_path)]), [])
    assert summary.images == 1
    assert [error.split(":")[0] for error in summary.errors] == [
        f"{tmp_path}/clip.avi frame {number}" for number in (0, 1)
    ]


def test_video_with_a_name_not_in_utf8_is_skipped(tmp_path: Path, make_video):
    """OpenCV crashes on such a name."""
    path = tmp_path / os.fsdecode(b"caf\xe9.avi")
    os.rename(make_video(tmp_path / "clip.avi"), path)
    (frame,) = VideoFile(path.name, path)
    assert frame.image is None and "UTF-8" in frame.error


def write_video(path: Path, frames, instances_of) -> None:
    with video_sink(path, CLASSES) as write:
        for frame in frames:
            write(frame, instances_of(*frame.image.size))


def test_drawn_video_has_the_same_length(tmp_path: Path, make_video, instances_of):
    frames = list(VideoFile("sub/clip.avi", make_video(tmp_path / "clip.avi")))
    write_video(tmp_path / "out", frames, instances_of)
    written, fps = read(tmp_path / "out/sub/clip.avi.mp4")
    assert (len(written), fps) == (8, 10)
    assert written[0].shape == (480, 640, 3)
    right = [frame[200:300, 500:600].mean() for frame in written]  # no box runs through it
    np.testing.assert_allclose(right, np.arange(8) * 10, atol=6)
    blue, green, red = written[0][300, 320]
    assert int(blue) > int(red) + 50, "the left half's edge has the colour of class 1"


def test_every_video_gets_its_file_and_images_none(tmp_path: Path, gray, instances_of):
    frames = [Frame("a.png", gray())]
    for name in ("one.mp4", "two.mp4"):
        frames += [Frame(name, gray(), number=i, fps=10.0, seconds=i / 10) for i in range(3)]
    write_video(tmp_path / "out", frames, instances_of)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.mp4", "two.mp4"]
    assert len(read(tmp_path / "out/two.mp4")[0]) == 3


@pytest.mark.parametrize("size", [(641, 483), (33, 25)])
def test_frames_with_odd_sides_can_be_written(tmp_path: Path, gray, instances_of, size):
    write_video(tmp_path, [Frame("a.mp4", gray(size=size), number=0, fps=10.0)], instances_of)
    (frame,), _ = read(tmp_path / "a.mp4")
    assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0


def test_slow_frames_are_repeated(tmp_path: Path, gray, instances_of):
    times = (0.0, 0.1, 0.5, 1.0)
    frames = [
        Frame("webcam0", gray(20 * number), number=number, fps=10.0, seconds=seconds)
        for number, seconds in enumerate(times)
    ]
    write_video(tmp_path, frames, instances_of)
    written, _ = read(tmp_path / "webcam0.mp4")
    assert len(written) == 11  # from 0.0 to 1.0 at 10 per second


def test_unfinished_video_is_removed(tmp_path: Path, gray, instances_of):
    frame = Frame("a.mp4", gray(), number=0, fps=10.0)
    with pytest.raises(RuntimeError), video_sink(tmp_path, CLASSES) as write:
        write(frame, instances_of(40, 30))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_video_and_images_together(tmp_path: Path, make_video, gray, predictor):
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "clip.mp4")
    gray().save(tmp_path / "in" / "3.png")
    sinks = [
        image_sink(tmp_path / "images", CLASSES, frames=False),
        video_sink(tmp_path / "videos", CLASSES),
    ]
    summary = predict_all(predictor, find_sources([str(tmp_path / "in")]), sinks, batch_size=4)
    assert summary.images == 9 and predictor.model.batches == [4, 4, 1]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["3.png"]
    assert len(read(tmp_path / "videos/clip.mp4")[0]) == 8


# Webcams: a video file stands in for the camera


@pytest.fixture
def camera(monkeypatch, make_video, tmp_path: Path):
    """Webcam 0 shows a video of 30 frames."""
    path = make_video(tmp_path / "camera.avi", count=30)
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda place: opened(path if place == 0 else place))


@pytest.mark.usefixtures("camera")
def test_webcam_yields_frames_until_unplugged():
    (source,) = find_sources(["webcam:0"])
    frames = list(source)
    assert source.is_video and source.length is None
    assert [(frame.name, frame.number) for frame in frames] == [("webcam0", i) for i in range(30)]
    times = [frame.seconds for frame in frames]
    assert times == sorted(times) and times[0] >= 0


@pytest.mark.usefixtures("camera")
def test_interrupted_webcam_completes_its_video(tmp_path: Path, predictor):
    class Interrupted(Webcam):
        def __iter__(self):
            for frame in super().__iter__():
                yield frame
                if frame.number == 3:
                    os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    sink = video_sink(tmp_path / "out", CLASSES)
    summary = predict_all(predictor, [Interrupted(0)], [sink])
    assert summary.images == 4 and not summary.errors
    assert len(read(tmp_path / "out/webcam0.mp4")[0]) >= 1
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("camera")
def test_webcam_in_another_thread():
    frames = []
    thread = threading.Thread(target=lambda: frames.extend(Webcam(0)))
    thread.start()
    thread.join()
    assert len(frames) == 30


@pytest.mark.usefixtures("camera")
def test_missing_webcam_is_a_frame_with_an_error():
    (frame,) = Webcam(97)
    assert frame.image is None and frame.error == "webcam:97: gives no images"


def test_missing_opencv_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match="pip install 'opencv-python-headless>="):
        require_cv2()
    with pytest.raises(MissingDependencyError):
        find_sources(["webcam:0"])


def test_error_of_opencv_names_the_video(tmp_path: Path, make_video, monkeypatch):
    def failing(*_):
        raise cv2.error("Insufficient memory")
        yield

    source = VideoFile("clip.avi", make_video(tmp_path / "clip.avi"))
    monkeypatch.setattr("stageinteractor.prediction.video._images", failing)
    (frame,) = source
    assert frame.error.startswith(f"{tmp_path}/clip.avi: ") and "memory" in frame.error


def test_video_that_cannot_be_written(tmp_path: Path, gray, instances_of):
    frame = Frame("a.mp4", gray(size=(1000, 1)), number=0, fps=10.0)
    with pytest.raises(DataError, match=r"a\.mp4.*1000x0"):
        write_video(tmp_path, [frame], instances_of)
