"""Share trained detectors through the Hugging Face Hub, or as a folder of three files.

A pretrained folder holds ``config.yaml``, ``model.safetensors`` and ``README.md``, the model card.
`save_pretrained` writes one, `push_to_hub` uploads it, and `pretrained_folder` finds one: a local
folder, or a repository of the Hub. huggingface_hub (extra ``hub``) is imported only for the Hub.
"""

from .client import pretrained_folder, push_to_hub
from .saving import CONFIG, WEIGHTS, save_pretrained

__all__ = ["CONFIG", "WEIGHTS", "pretrained_folder", "push_to_hub", "save_pretrained"]
