"""The assigner works where detectron2 and everything else that is large cannot be imported."""

import subprocess
import sys

PROGRAM = """
import sys
for name in ("detectron2", "omegaconf", "fvcore", "timm", "torchvision", "detrex"):
    sys.modules[name] = None  # importing it raises ImportError
import torch
from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher, unstable_scores
boxes = torch.tensor([0.0, 0.0, 4.0, 4.0]).expand(2, 1, 3, 4)
targets = [{"boxes": boxes[0, 0, :1], "labels": torch.tensor([1])}]
matches = HungarianMatcher()(torch.zeros(2, 1, 3, 2), boxes, targets, torch.tensor([[8, 8]]))
print(int(CrossStageAssigner()(boxes, matches, targets, 2).sum()))
print(unstable_scores(matches, targets).tolist())
"""


def test_assigner_imports_without_detectron2():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "[0.0]"]
