"""A mark for tests that need a torch which can trace a model for images of every size."""

import pytest
import torch
from packaging.version import Version

from stageinteractor.export.graph import MIN_TORCH

needs_tracer = pytest.mark.skipif(
    Version(torch.__version__) < Version(MIN_TORCH),
    reason=f"needs torch >= {MIN_TORCH} to trace, got {torch.__version__}",
)
