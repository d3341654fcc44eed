"""Two processes train as one process with the joined batch would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("gradient_cases.py")
UNEVEN = "more labels than matches on one rank, fewer on the other"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The gradients of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("gradients")
    for processes in (1, 2):
        command = [sys.executable, str(SCRIPT), str(folder / f"of{processes}"), str(processes)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=env)
        assert done.returncode == 0, done.stderr
    return [torch.load(folder / name) for name in ("of1.0", "of2.0", "of2.1")]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_equal_those_of_the_joined_batch(results, dtype):
    joined, *ranks = (each[dtype]["gradients"] for each in results)
    assert len(joined) == 6
    for case, expected in joined.items():
        scale = total(expected.values())
        assert scale > 1e-3, case
        for rank in ranks:
            assert rank[case].keys() == expected.keys()
            differences = {name: rank[case][name] - expected[name] for name in expected}
            assert total(differences.values()) < 1e-5 * scale, case
            if dtype == torch.float64:  # every parameter, also those of a small gradient
                for name, difference in differences.items():
                    limit = 1e-5 * expected[name].norm() + 1e-13 * scale
                    assert difference.norm() < limit, (case, name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_cases_have_the_properties_they_are_named_for(results):
    _, first, second = (each[torch.float64]["counts"] for each in results)
    (labels, matches), (other_labels, other_matches) = first[UNEVEN][0], second[UNEVEN][0]
    assert (labels > matches).any() and (other_labels < other_matches).any()
    # the published rule would divide by another number
    each = torch.maximum(labels, matches) + torch.maximum(other_labels, other_matches)
    assert (each > torch.maximum(labels + other_labels, matches + other_matches)).all()
    assert not first["objects on one rank"][0][1].any()
    assert second["objects on one rank"][0][1].all()
    assert len(first["two batches per step"]) == 4  # of two batches, counted first


def total(tensors):
    """Return the norm of all tensors together."""
    return torch.stack([tensor.double().norm() for tensor in tensors]).norm()
