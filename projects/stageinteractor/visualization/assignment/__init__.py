"""The assignment of queries to ground truth at each stage, as figures and an HTML page."""

from .anchor_panels import ImageAnchors, draw_anchors, record_anchors
from .collect import collect_assignment
from .duplicate_panels import draw_duplicates, more_confident_overlaps
from .html_page import write_page
from .query_labels import ImageAssignment, QueryLabel, gt_history, query_labels
from .stage_panels import draw_panels
from .summary import Summary, summarize
from .unstable_score import Stability, measure_stability
from .unstable_score_report import plot_stability, stability_table

__all__ = [
    "ImageAnchors",
    "ImageAssignment",
    "QueryLabel",
    "Stability",
    "Summary",
    "collect_assignment",
    "draw_anchors",
    "draw_duplicates",
    "draw_panels",
    "gt_history",
    "measure_stability",
    "more_confident_overlaps",
    "plot_stability",
    "query_labels",
    "record_anchors",
    "stability_table",
    "summarize",
    "write_page",
]
