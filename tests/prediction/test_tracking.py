"""Tracks keep their number from frame to frame, in the order of the detections."""

import json
import sys

import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from stageinteractor.errors import MissingDependencyError
from stageinteractor.prediction.class_metadata import ClassMetadata
from stageinteractor.prediction.frames import Frame
from stageinteractor.prediction.sinks import json_sink
from stageinteractor.prediction.tracking import Tracker, track_ids_of

GRAY = Image.new("RGB", (100, 50))


def detections(left: int, *, swapped: bool = False) -> Instances:
    """A box that moves right in the upper half, and one that rests in the lower half."""
    boxes = [[left, 0, left + 20, 20], [60, 30, 80, 50]]
    instances = Instances((50, 100), pred_boxes=Boxes(boxes[::-1] if swapped else boxes))
    instances.scores = torch.tensor([0.5, 0.4])
    instances.pred_classes = torch.tensor([0, 0])
    return instances


def frame(number: int, name: str = "clip.mp4") -> Frame:
    return Frame(name, GRAY, number=number, fps=10.0)


@pytest.fixture
def track() -> Tracker:
    return Tracker(0.3)


def test_numbers_follow_the_boxes(track):
    assert track_ids_of(track(frame(0), detections(0))) == [None, None]  # seen once
    first, second = track_ids_of(track(frame(1), detections(4)))
    assert None not in (first, second) and first != second
    for number in range(2, 7):
        swapped = number % 2 == 1
        tracked = track(frame(number), detections(4 * number, swapped=swapped))
        assert track_ids_of(tracked) == ([second, first] if swapped else [first, second])
        assert tracked.scores.tolist() == pytest.approx([0.5, 0.4])


def test_a_frame_without_detections_and_a_return(track):
    track(frame(0), detections(0))
    ids = track_ids_of(track(frame(1), detections(0)))
    assert track_ids_of(track(frame(2), detections(0)[:0])) == []
    assert track_ids_of(track(frame(3), detections(2))) == ids != [None, None]


def test_another_video_has_new_tracks_and_images_none(track):
    track(frame(0), detections(0))
    tracker = track.tracker
    track(frame(0, "other.mp4"), detections(0))
    assert track.tracker is not tracker
    image = detections(0)
    assert track(Frame("photo.jpg", GRAY), image) is image
    assert track_ids_of(image) == [None, None]


def test_tracks_are_in_the_json(track, tmp_path):
    path = tmp_path / "detections.json"
    with json_sink(path, ClassMetadata()) as write:
        track(frame(0), detections(0))
        write(frame(1), track(frame(1), detections(0)))
        write(Frame("photo.jpg", GRAY), detections(0))
    entries = json.loads(path.read_text())
    assert len({entry["track_id"] for entry in entries[:2]}) == 2
    assert "track_id" not in entries[2]


def test_missing_trackers_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(MissingDependencyError, match="trackers"):
        Tracker(0.3)
