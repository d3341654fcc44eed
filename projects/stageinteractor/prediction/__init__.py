"""Prediction on images, videos and webcams.

`predict_all` takes `Frame`s from sources (`sources`, `video`), detections from a `Predictor`, and
passes both to sinks (`sinks`, `video`). ``stageinteractor predict`` is its command line.
"""

from .class_metadata import ClassMetadata
from .frames import Frame, Source
from .inference import Summary, predict_all
from .sources import ImageFiles, find_sources

__all__ = [
    "ClassMetadata",
    "Frame",
    "ImageFiles",
    "Source",
    "Summary",
    "find_sources",
    "predict_all",
]
