"""Run a ``.py`` config; an error in it becomes one line with file, line and reason."""

from __future__ import annotations

import builtins
import importlib
from pathlib import Path
from types import TracebackType

from detectron2.config import LazyConfig
from omegaconf import DictConfig

from .errors import ConfigError, MissingDependencyError, StageInteractorError, one_line
from .packages import how_to_get

CONFIG_PACKAGE = "detectron2._cfg_loader"  # what detectron2 runs configs as


def load_python(file: Path) -> DictConfig:
    """Run a config that is a Python program, and return what it defines.

    Raises:
        MissingDependencyError: it imports a package that is not installed.
        ConfigError: it raises any other error, or is not valid Python.
    """
    own_import = builtins.__import__
    try:
        return LazyConfig.load(str(file))
    except StageInteractorError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or _can_be_imported(package):
            raise ConfigError(_reason(error, file)) from error
        location = _location(error.__traceback__, file)
        raise MissingDependencyError(
            f"{location}: it needs the package {package!r}: {how_to_get(package)}"
        ) from error
    except Exception as error:
        raise ConfigError(_reason(error, file)) from error
    finally:
        builtins.__import__ = own_import  # detectron2 leaves its own after an error


def _can_be_imported(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def _reason(error: Exception, file: Path) -> str:
    cause = error.__cause__
    if isinstance(error, SyntaxError) and isinstance(cause, SyntaxError):  # error has the file
        return f"{one_line(error)} Line {cause.lineno or 1}: {cause.msg}"
    return f"{_location(error.__traceback__, file)}: {type(error).__name__}: {one_line(error)}"


def _location(traceback: TracebackType | None, file: Path) -> str:
    """Return file and line of the innermost config: they import each other."""
    location = str(file)
    while traceback is not None:
        frame = traceback.tb_frame
        if str(frame.f_globals.get("__package__")).startswith(CONFIG_PACKAGE):
            location = f"{frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return location
