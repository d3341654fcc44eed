"""Show which query learnt what at which stage: collected from a model, as pictures and a page."""

from .anchor_panels import ImageAnchors, draw_anchors, recorded_anchors
from .collect import collect_assignment
from .html_page import write_page
from .query_labels import ImageAssignment, QueryLabel, gt_history, query_labels
from .stage_panels import draw_panels
from .summary import Summary, plot_summary, summarize
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
    "draw_panels",
    "query_labels",
    "measure_stability",
    "gt_history",
    "recorded_anchors",
    "plot_stability",
    "plot_summary",
    "stability_table",
    "summarize",
    "write_page",
]
