"""What a drawing function put into its figure."""

import pytest


@pytest.fixture
def figures(monkeypatch):
    """Figures in the order in which they are saved; they are saved all the same."""
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        saved.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved
