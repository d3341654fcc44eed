"""Names of runs."""

import pytest

from stageinteractor.visualization.run_names import run_names


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["output/a/config.yaml"], ["a"]),
        (["zoo/dino.py"], ["dino"]),
        (["output/a/config.yaml", "output/b/config.yaml"], ["a", "b"]),
        (["x/a/seed_0/row.yaml", "x/b/seed_0/row.yaml"], ["a/seed_0", "b/seed_0"]),
        (["out/model_0399.pth", "out/model_final.pth"], ["model_0399", "model_final"]),
        (["zoo/dino.py", "out/a/config.yaml"], ["dino", "config"]),
        (["out/a/config.yaml"] * 2, ["(1)", "(2)"]),
    ],
)
def test_runs_are_named_by_shortest_distinct_endings(files, names):
    result = run_names(files)
    assert all(name.endswith(end) for name, end in zip(result, names, strict=True))
    assert len(set(result)) == len(result)
    if "(1)" not in names:
        assert result == names
