"""Show which query learnt what at which stage: collected from a model, as pictures and a page."""

from .anchors import ImageAnchors, draw_anchors, observed_anchors
from .collect import collect_assignment
from .marks import ImageAssignment, Mark, find_marks, object_history
from .page import write_page
from .panels import draw_panels
from .stability import Stability, measure_stability
from .stability_report import plot_stability, stability_table
from .summary import Summary, plot_summary, summarize

__all__ = [
    "ImageAnchors",
    "ImageAssignment",
    "Mark",
    "Stability",
    "Summary",
    "collect_assignment",
    "draw_anchors",
    "draw_panels",
    "find_marks",
    "measure_stability",
    "object_history",
    "observed_anchors",
    "plot_stability",
    "plot_summary",
    "stability_table",
    "summarize",
    "write_page",
]
