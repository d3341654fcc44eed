"""The commands of ``stageinteractor``; each module has the ``main`` of one command.

Importing this package hides warnings about how detectron2 and fvcore use torch, which the user of a
command can do nothing about.
"""

import warnings

warnings.filterwarnings(
    "ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning
)
warnings.filterwarnings(
    "ignore", message="The given NumPy array is not writable", category=UserWarning
)
