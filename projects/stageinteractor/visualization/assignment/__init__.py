"""Show which query learnt what at which stage: collected from a model, as pictures and a page."""

from .collect import collect_assignment
from .marks import ImageAssignment, Mark, find_marks, object_history
from .page import write_page
from .panels import draw_panels
from .summary import Summary, plot_summary, summarize

__all__ = [
    "ImageAssignment",
    "Mark",
    "Summary",
    "collect_assignment",
    "draw_panels",
    "find_marks",
    "object_history",
    "plot_summary",
    "summarize",
    "write_page",
]
