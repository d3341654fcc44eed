"""The plot of precision, recall and F1 has the curves' own numbers."""

import numpy as np

from stageinteractor.evaluation.score_thresholds import ScoreCurve
from stageinteractor.visualization.score_plot import plot_score_curves


def curve(*f1: float) -> ScoreCurve:
    scores = np.linspace(0.9, 0.1, len(f1))
    return ScoreCurve(scores, np.full(len(f1), 0.75), np.full(len(f1), 0.5), np.array(f1))


def test_curves_and_best_thresholds_are_drawn(figures, tmp_path):
    curves = {None: curve(0.2, 0.8, 0.4), 7: curve(0.1, 0.6), 19: curve(0.9, 0.3), 30: curve()}
    plot_score_curves(curves, {7: "person", 19: "$car", 30: "none"}, tmp_path / "plot.png")
    overall, classes = figures[0].axes
    f1 = {line.get_label(): line for line in overall.lines}["F1"]
    assert f1.get_ydata().tolist() == [0.2, 0.8, 0.4]
    assert overall.lines[-1].get_label() == "best F1 80.0 % at 0.300"  # halfway from 0.5 to 0.1
    labels = [text.get_text() for text in classes.get_legend().get_texts()]
    assert labels == [r"\$car: 90.0 % at 0.500", "person: 60.0 % at 0.050"]
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_of_many_classes_the_best_and_worst_are_named(figures, tmp_path):
    curves = {None: curve(0.5)} | {key: curve(0.01 * key) for key in range(1, 21)}
    plot_score_curves(curves, {key: f"c{key}" for key in range(1, 21)}, tmp_path / "plot.png")
    named = [text.get_text()[:3] for text in figures[0].axes[1].get_legend().get_texts()]
    assert named == ["c20", "c19", "c5:", "c4:", "c3:", "c2:", "c1:"]
    assert len(figures[0].axes[1].lines) == 20
