"""A run's folder: which checkpoint in it is meant, and whose folder a copied config belongs to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ..errors import DataError

BEST = "model_best"
NOTE = "last_checkpoint"  # holds the name of the file that --resume begins from
LONGEST_NAME = 255  # bytes of a file name


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the checkpoint that a folder's ``last_checkpoint`` names; None without such a file.

    Raises:
        DataError: it names no file of its own folder.
    """
    note = Path(folder) / NOTE
    if not note.is_file():
        return None
    with note.open("rb") as stream:
        name = stream.read(LONGEST_NAME + 2).decode("utf-8", "replace").strip()
    is_name = name.isprintable() and name not in ("", ".", "..") and os.sep not in name
    if is_name and len(os.fsencode(name)) <= LONGEST_NAME and (note.parent / name).is_file():
        return note.parent / name
    present = ", ".join(sorted(path.name for path in note.parent.glob("model_*.pth")))
    raise DataError(
        f"{note} names {name[:LONGEST_NAME]!r}, which is no checkpoint of its folder: write the "
        f"name of one into it ({present or 'there is none'}), or remove it"
    )


def best_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return a folder's ``model_best.pth``, if it has one."""
    path = Path(folder) / f"{BEST}.pth"
    return path if path.is_file() else None


def final_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return a folder's ``model_final.pth``, if it has one: all that some copies hold."""
    path = Path(folder) / "model_final.pth"
    return path if path.is_file() else None


def _candidates(folder: Path, prefer_best: bool) -> Iterator[Path | None]:
    order = (
        (best_checkpoint, last_checkpoint) if prefer_best else (last_checkpoint, best_checkpoint)
    )
    for find in (*order, final_checkpoint):
        yield find(folder)


def find_checkpoint(
    cfg: DictConfig,
    config_file: str | os.PathLike[str] | None = None,
    prefer_best: bool = True,
) -> str:
    """Return the best or else last checkpoint of a run, else ``train.init_checkpoint``.

    Args:
        cfg: of the run.
        config_file: a run's ``config.yaml``: its folder is looked into before
            ``train.output_dir``, which is as it was when training.
        prefer_best: else the last one comes before the best one.

    Raises:
        DataError: there is none, or ``last_checkpoint`` names no file of its folder.
    """
    folders = []
    if config_file is not None and Path(config_file).suffix != ".py":
        folders.append(Path(config_file).parent)
    output_dir = OmegaConf.select(cfg, "train.output_dir", default=None)
    if output_dir is not None:
        folders.append(Path(output_dir).expanduser())
    folders = list(dict.fromkeys(folders))
    for folder in folders:
        for path in _candidates(folder, prefer_best):
            if path is not None:
                return str(path)
    initial = OmegaConf.select(cfg, "train.init_checkpoint", default=None)
    if initial:
        return str(initial)
    places = " or ".join(str(folder) for folder in folders) or "the config"
    raise DataError(
        f"no checkpoint in {places}: train first, or name one by train.init_checkpoint=FILE"
    )


def use_folder_beside(
    cfg: DictConfig, config_file: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> None:
    """Let a run's copy be the run: set ``train.output_dir`` to the folder of its ``config.yaml``.

    That is done if checkpoints lie beside the config, and unless an override names the folder.

    Args:
        cfg: read from ``config_file``; changed in place.
        config_file: what the user named.
        overrides: key=value, applied already.
    """
    file = Path(config_file)
    if file.suffix == ".py" or any(o.startswith("train.output_dir=") for o in overrides):
        return
    names = (NOTE, f"{BEST}.pth", "model_final.pth")
    has_some = any((file.parent / name).is_file() for name in names)
    if has_some and OmegaConf.select(cfg, "train", default=None) is not None:
        cfg.train.output_dir = str(file.parent)
