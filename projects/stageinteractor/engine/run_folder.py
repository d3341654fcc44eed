"""The output folder of a run: find a checkpoint in it, and the folder of a copied run."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ..config import Overrides, apply_overrides, find_config, flatten_overrides, load_config
from ..errors import DataError

BEST = "model_best"
FINAL = "model_final.pth"  # the only checkpoint that some copies hold
LAST = "last_checkpoint"  # file with the name of the checkpoint that --resume starts from
YAML = (".yaml", ".yml")
MAX_NAME = 255  # bytes of a file name


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint that a folder's ``last_checkpoint`` names; None without such a file.

    Raises:
        DataError: it names no file of its own folder.
    """
    pointer = Path(folder) / LAST
    if not pointer.is_file():
        return None
    with pointer.open("rb") as stream:
        name = stream.read(MAX_NAME + 2).decode("utf-8", "replace").strip()
    is_name = name.isprintable() and name not in ("", ".", "..") and os.sep not in name
    if is_name and len(os.fsencode(name)) <= MAX_NAME and (pointer.parent / name).is_file():
        return pointer.parent / name
    present = ", ".join(sorted(path.name for path in pointer.parent.glob("model_*.pth")))
    raise DataError(
        f"{pointer} names {name[:MAX_NAME]!r}, which is not a checkpoint in its folder: write the "
        f"name of one into it ({present or 'there is none'}), or remove it"
    )


def _checkpoint_in(folder: Path, prefer_best: bool) -> Path | None:
    best = folder / f"{BEST}.pth"
    if prefer_best and best.is_file():
        return best
    for path in (last_checkpoint(folder), best, folder / FINAL):
        if path is not None and path.is_file():
            return path
    return None


def find_checkpoint(
    cfg: DictConfig,
    config_file: str | os.PathLike[str] | None = None,
    prefer_best: bool = True,
) -> str:
    """Return the best or else last checkpoint of a run, else ``train.init_checkpoint``.

    Args:
        config_file: a run's ``config.yaml``, or its folder, which comes before
            ``train.output_dir``: that is where the run was trained.
        prefer_best: prefer the best checkpoint to the last one.

    Raises:
        DataError: there is no checkpoint, or ``last_checkpoint`` names no file of its folder.
    """
    folders = []
    if config_file is not None and (file := find_config(config_file)).suffix in YAML:
        folders.append(file.parent)
    output_dir = OmegaConf.select(cfg, "train.output_dir", default=None)
    if output_dir is not None:
        folders.append(Path(output_dir).expanduser())
    folders = list(dict.fromkeys(folders))
    for folder in folders:
        path = _checkpoint_in(folder, prefer_best)
        if path is not None:
            return str(path)
    initial = OmegaConf.select(cfg, "train.init_checkpoint", default=None)
    if initial:
        return str(initial)
    places = " or ".join(str(folder) for folder in folders) or "the config"
    raise DataError(
        f"no checkpoint in {places}: train first, or name one by train.init_checkpoint=FILE"
    )


def load_run_config(
    config_file: str | os.PathLike[str], overrides: Overrides = (), *, trust: bool = False
) -> DictConfig:
    """Load a config, apply overrides, and find the folder of a copied run: `use_folder_beside`.

    Raises:
        ConfigError: it cannot be read, or an override cannot be applied.
    """
    cfg = load_config(config_file, trust=trust)
    apply_overrides(cfg, overrides)
    use_folder_beside(cfg, config_file, overrides)
    return cfg


def use_folder_beside(
    cfg: DictConfig, config_file: str | os.PathLike[str], overrides: Overrides = ()
) -> None:
    """Set ``train.output_dir`` to the config's folder, if that holds checkpoints: a copied run.

    An override of ``train.output_dir`` comes first.

    Args:
        cfg: read from ``config_file``; changed in place.
        overrides: key=value, applied already.
    """
    file, texts = find_config(config_file), flatten_overrides(overrides)
    if file.suffix not in YAML or any(text.startswith("train.output_dir=") for text in texts):
        return
    names = (LAST, f"{BEST}.pth", FINAL)
    has_some = any((file.parent / name).is_file() for name in names)
    if has_some and OmegaConf.select(cfg, "train", default=None) is not None:
        cfg.train.output_dir = str(file.parent)
