"""Talk to the Hugging Face Hub: download a repository of three files, or upload one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ..errors import ConfigError, DataError
from ..packages import require
from .saving import CARD, CONFIG, WEIGHTS

FILES = (CONFIG, WEIGHTS, CARD)


def pretrained_folder(
    name: str | os.PathLike[str], revision: str | None = None, token: str | None = None
) -> Path:
    """Return a local folder with ``config.yaml`` and ``model.safetensors``.

    Args:
        name: of a folder, else "owner/name" of a repository of the Hub, which is downloaded once.
        revision: branch, tag or commit hash of the repository; a commit hash pins the content.
        token: of the Hub, for private repositories; by default the one that is logged in.

    Raises:
        ConfigError: a revision is given for a folder.
        MissingDependencyError: huggingface_hub is not installed.
        DataError: there is no such repository or revision, the Hub cannot be reached, or a file is
            missing.
    """
    if Path(name).expanduser().is_dir():
        if revision is not None:
            raise ConfigError(f"{name} is a local folder: revision={revision!r} has no meaning")
        folder = Path(name).expanduser()
    else:
        folder = _download(str(name), revision, token)
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise DataError(f"{name}: has no {file}; save_pretrained writes such a folder")
    return folder


def push_to_hub(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str = "Upload a detector",
) -> str:
    """Upload a pretrained folder to the Hub.

    That the token may write to the repository is checked before anything is uploaded.

    Args:
        folder: what `save_pretrained` has written.
        repo_id: "owner/name"; the repository is created if it does not exist.
        private: of a repository that is created.
        revision: an existing branch; by default the main one.

    Returns:
        address of the commit, whose hash is a ``revision`` of `pretrained_folder`.

    Raises:
        MissingDependencyError: huggingface_hub is not installed.
        DataError: the folder is incomplete, the token may not write there, or the Hub cannot be
            reached.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder; write one with save_pretrained")
    path = pretrained_folder(folder)
    _require_write_access(repo_id, private, token)
    with _hub_errors(repo_id):
        commit = (
            _huggingface_hub()
            .HfApi(token=token)
            .upload_folder(
                repo_id=repo_id,
                folder_path=path,
                revision=revision,
                commit_message=commit_message,
                allow_patterns=list(FILES),
            )
        )
    return str(commit.commit_url)


def _require_write_access(repo_id: str, private: bool, token: str | None) -> None:
    """Create the repository if it does not exist, and check that the token may write to it."""
    api = _huggingface_hub().HfApi(token=token)
    with _hub_errors(repo_id):
        api.create_repo(repo_id, private=private, exist_ok=True)
        api.auth_check(repo_id, write=True)


def _download(name: str, revision: str | None, token: str | None) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise DataError(f"{name}: no such folder, and not the owner/name of a repository")
    hub = _huggingface_hub()
    with _hub_errors(name):
        return Path(
            hub.snapshot_download(name, revision=revision, token=token, allow_patterns=list(FILES))
        )


def _huggingface_hub() -> ModuleType:
    return require("huggingface_hub", "the Hub")


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into a DataError that names the repository."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{name}: {type(error).__name__}: {reason}") from error
