"""A mark for tests that trace a model for images of every size, which older versions cannot."""

import pytest
import torch
from packaging.version import Version

from stageinteractor.export.graph import OLDEST_TORCH

needs_tracer = pytest.mark.skipif(
    Version(torch.__version__) < Version(OLDEST_TORCH),
    reason=f"needs torch >= {OLDEST_TORCH} to trace, found {torch.__version__}",
)
