"""Identities of objects from frame to frame of a video, by ByteTrack of the package trackers.

ByteTrack (Zhang et al., ECCV 2022) matches boxes to Kalman-filtered tracks by IoU; it sees neither
pixels nor classes. supervision, which had it before, hands it on to ``trackers``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ..packages import require
from .frames import DEFAULT_FPS, Frame

LOST_SECONDS = 1.0  # for which an object may be hidden


class Tracker:
    """Gives the detections of every frame the number of their track.

    Args:
        min_score: detections from this score on begin tracks and continue them.

    Raises:
        MissingDependencyError: trackers is not installed.
    """

    def __init__(self, min_score: float) -> None:
        self.make = require("trackers", "tracking").ByteTrackTracker
        self.supervision = require("supervision", "tracking")
        self.min_score = min_score
        self.name = ""
        self.tracker: Any = None

    def __call__(self, frame: Frame, instances: Instances) -> Instances:
        """Return the detections with ``track_ids`` (n,) long; images are left alone.

        A track has its number from the second frame on; before, and without one, it is -1. The
        frames of a video come in order; another video begins with new tracks.
        """
        if frame.number is None:
            return instances
        if frame.name != self.name:
            self.name, self.tracker = frame.name, self._new(frame.fps or DEFAULT_FPS)
        tracked = self.tracker.update(
            self.supervision.Detections(
                xyxy=instances.pred_boxes.tensor.numpy(),
                confidence=instances.scores.numpy(),
                class_id=instances.pred_classes.numpy(),
                data={"index": np.arange(len(instances))},
            )
        )
        track_ids = torch.full((len(instances),), -1)
        if len(tracked):
            track_ids[torch.as_tensor(tracked.data["index"])] = torch.as_tensor(tracked.tracker_id)
        return Instances(
            instances.image_size, **(instances.get_fields() | {"track_ids": track_ids})
        )

    def _new(self, fps: float) -> Any:
        """Return a tracker without tracks; its buffer counts frames of 30 per second."""
        return self.make(
            lost_track_buffer=round(30 * LOST_SECONDS),
            frame_rate=fps,
            track_activation_threshold=self.min_score,
            high_conf_det_threshold=self.min_score,
            minimum_consecutive_frames=1,
        )


def track_ids_of(instances: Instances) -> list[int | None]:
    """Return the track of every detection; None for those without one."""
    if not instances.has("track_ids"):
        return [None] * len(instances)
    return [number if number >= 0 else None for number in instances.track_ids.tolist()]
