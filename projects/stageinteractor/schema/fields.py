"""What single values of a config may be: pydantic types with the reading that users expect.

A whole number may be written as a float (``1e3``), and a path may begin with ``~``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WrapValidator, with_config
from typing_extensions import TypedDict

TORCH_DTYPES = {"float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
MISSING = "???"  # OmegaConf's mark of a value that has to be set


def mapping(**keys: Any) -> Any:
    """Return the type of a mapping with some of these keys; its other keys are left alone."""
    described = TypedDict("Mapping", keys, total=False)  # type: ignore[misc]
    return with_config(ConfigDict(extra="allow"))(described)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("input should be a number")
    return float(value) if isinstance(value, str) else value  # such as 1e3 of a YAML file


def _text(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError("input should be text; write it in quotes")
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _is_set(value: str) -> str:
    if value == MISSING:
        raise ValueError("it has to be set")
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    return value


def _list(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


def _zero(value: Any) -> Any:
    return 0 if value is None else value


def _not_drawn(value: Any) -> Any:
    return 0 if value == -1 else value


def _precision(value: Any) -> Any:
    if isinstance(value, str) and value.removeprefix("torch.") in TORCH_DTYPES:
        raise ValueError(f"write {TORCH_DTYPES[value.removeprefix('torch.')]}")
    return value


def _unless_others(value: Any, validate: Callable[[Any], Any]) -> Any:
    target = value.get("_target_") if isinstance(value, dict) else None
    module = target if isinstance(target, str) else getattr(target, "__module__", "")
    is_others = bool(module) and module.partition(".")[0] != __name__.partition(".")[0]
    return value if is_others or isinstance(value, list) else validate(value)


AsNumber = BeforeValidator(_number)
AsList = BeforeValidator(_list)
NullIsZero = BeforeValidator(_zero)
ShortNames = BeforeValidator(_precision)  # of precisions: fp16, not torch's float16
OursOnly = WrapValidator(_unless_others)  # a list, or somebody else's class, is not looked into

Natural = Annotated[int, Field(ge=0, lt=2**31), AsNumber]
Seed = Annotated[Natural, BeforeValidator(_not_drawn)]  # -1 asks detrex to draw one
Count = Annotated[int, Field(ge=1, lt=2**31), AsNumber]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AsNumber]
Share = Annotated[float, Field(ge=0, lt=1), AsNumber]
AnyText = Annotated[str, BeforeValidator(_text)]
Text = Annotated[AnyText, AfterValidator(_is_set)]
EXPANDED = AfterValidator(os.path.expanduser)  # what is annotated with it is a path
LaterPath = Annotated[AnyText, EXPANDED]  # may be set later
FilePath = Annotated[Text, EXPANDED]  # "" stands for none
FolderPath = Annotated[FilePath, AfterValidator(_not_empty)]
