"""The whole measurement: from a config to one row for every part."""

from __future__ import annotations

import datetime
import functools
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from stageinteractor.config import apply_overrides, load_config
from stageinteractor.engine.build import move_to_device
from stageinteractor.engine.setup import find_device
from stageinteractor.errors import ConfigError
from stageinteractor.modeling import StageInteractor
from stageinteractor.synthetic import Batch, move_parameters, synthetic_batch, untrained_model

from .input_pipeline import evaluation_job, loading_job
from .parts import WHOLES, inference_calls, least_bytes, select_parts, training_calls
from .recording import Calls, Mixed, forward_run, training_run
from .roofline import Rates, measure_rates
from .rows import INFERENCE, TRAINING, Job, Row, measure
from .step import TrainingStep, inference_job, to_device

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LONGEST = 10.0  # seconds for the repeats of one row, unless two take longer


class Subject(NamedTuple):
    """The model and inputs to measure."""

    cfg: DictConfig
    model: nn.Module
    batch: Batch
    device: torch.device
    precision: str
    settings: dict[str, Any]  # results can be compared if these are equal


def prepare(
    config_file: str,
    overrides: Sequence[str] = (),
    *,
    device: str | None = None,
    precision: str = "float32",
    images: int = 1,
    size: tuple[int, int] = (480, 800),
    queries: int | None = None,
    objects: int = 20,
    trust_config: bool = False,
) -> Subject:
    """Build a config's model with random weights, and a batch of noise.

    Args:
        config_file: of a StageInteractor or an AdaMixer.
        overrides: key=value.
        device: "auto", "cpu", "cuda" or "cuda:1"; by default the config's ``train.device``.
        precision: one of `PRECISIONS`; the last two by autocast.
        images: B.
        size: (height, width) of the images.
        queries: N; by default the config's.
        objects: T of every image.
        trust_config: as ``trust`` of `load_config`.

    Raises:
        ConfigError: device, precision, model or ``train.compile`` cannot be used.
    """
    cfg = load_config(config_file, trust=trust_config)
    own = [] if queries is None else [f"model.queries.num_queries={queries}"]
    apply_overrides(cfg, [*overrides, *own])
    if device is None:
        where = torch.device(find_device(cfg.train.device))
    else:
        where = torch.device(find_device(device, "--device"))
    check_precision(precision, where)
    if cfg.train.get("compile"):
        raise ConfigError(
            "train.compile=true: the benchmark runs the parts of a stage apart, which are one in "
            "a compiled decoder; leave it off"
        )
    model = untrained_model(cfg)
    if not isinstance(model, StageInteractor):
        raise ConfigError(
            f"{config_file}: its model is a {type(model).__name__}; "
            "only StageInteractor's parts (and AdaMixer's) are known to the benchmark"
        )
    decoder: Any = model.decoder
    move_parameters(decoder)
    cfg.train.device = str(where)
    classes = decoder.num_classes
    settings = {
        "config": _short(config_file),
        "overrides": sorted(overrides),
        "device": where.type,
        "precision": precision,
        "batch": images,
        "size": list(size),
        "queries": getattr(model.queries, "num_queries", "anchors"),
        "objects": objects,
        "threads": torch.get_num_threads(),
    }
    batch = to_device(synthetic_batch(images, size, objects, classes), where)
    return Subject(cfg, move_to_device(model, cfg), batch, where, precision, settings)


def _short(config_file: str) -> str:
    """Return the path below the folder of the zoo's configs, or just as it is given."""
    parts = Path(config_file).parts
    return "/".join(parts[parts.index("configs") + 1 :]) if "configs" in parts else config_file


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ConfigError if autocast cannot do this here."""
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("--precision fp16 is for GPUs; on a CPU use bf16 or float32")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError("--precision bf16: this GPU has no bfloat16; use fp16 or float32")


def machine(device: torch.device) -> dict[str, str]:
    """Return the machine, torch's version and products, and the date, to compare results."""
    return {
        "machine": _processor() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "date": datetime.datetime.now().isoformat(sep=" ", timespec="minutes"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure_subject(subject: Subject, repeats: int = 5) -> tuple[Rates, list[Row]]:
    """Return the machine's rates, and the rows in the order of the model."""
    rates = measure_rates(subject.device, PRECISIONS[subject.precision])
    rows: list[Row] = []
    with tqdm(desc="parts", unit="row", leave=False) as progress:
        for job, total in _jobs(subject):
            progress.total = total
            progress.set_postfix_str(job.title)
            rows += measure(job, subject.device, rates, repeats, LONGEST)
            progress.update()
    return rates, rows


def _jobs(subject: Subject) -> Iterator[tuple[Job, int]]:
    """Yield jobs, and how many there are in all."""
    cfg, model, batch, device, precision, settings = subject
    mixed: Mixed = functools.partial(
        torch.autocast, device.type, PRECISIONS[precision], enabled=precision != "float32"
    )
    with mixed():
        inference = inference_calls(model, batch)
        training = training_calls(model, batch, inference)
    forward, step = (
        _part_jobs(calls, mode, mixed)
        for calls, mode in ((inference, INFERENCE), (training, TRAINING))
    )
    total = len(forward) + len(step) + 4
    images, objects = settings["batch"], settings["objects"]
    del inference, training
    with loading_job(cfg, images, objects) as loading:
        yield loading, total
    model.eval()
    yield from ((job, total) for job in forward)
    yield inference_job(model, batch, mixed), total
    yield evaluation_job(max(objects, 1)), total
    del forward
    model.train()
    yield from ((job, total) for job in step)
    del step
    yield TrainingStep(cfg, model, batch, mixed, scale=precision == "fp16").job(), total


def _part_jobs(calls: Calls, mode: str, mixed: Mixed) -> list[Job]:
    training = mode == TRAINING
    make = training_run if training else forward_run
    return [
        Job(
            part.title,
            mode,
            (make(part.calls, mixed),),
            (least_bytes(part, training),),
            stage=part.stage,
            calls=len(part.calls),
            ranked=part.title not in WHOLES,
        )
        for part in select_parts(calls)
    ]
