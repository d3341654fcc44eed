"""The model card: what the model is, how it was trained, what was measured and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from torch import nn

from .. import __version__
from ..printable_text import printable

MAX_NAMES = 40  # class names that a card lists


@dataclass(frozen=True)
class RunFacts:
    """What a run knows beside its config.

    Args:
        metrics: of the last evaluation, such as {"AP": 41.2}, in per cent.
        command: that the run was started with.
        licence: of the weights, an identifier of the Hub such as "apache-2.0".
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    command: str | None = None
    licence: str | None = None


def model_card(cfg: DictConfig, model: nn.Module, facts: RunFacts) -> str:
    """Return the text of a ``README.md`` with the metadata block that the Hub reads.

    Args:
        facts: see `RunFacts`; what is missing is named as not measured or not stated.
    """
    dataset = str(OmegaConf.select(cfg, "dataset.name", default="unknown"))
    parts = [
        f"---\n{yaml.safe_dump(_metadata(dataset, facts), sort_keys=False)}---\n",
        f"# {type(model).__name__} trained on {printable(dataset)}\n",
        _use(),
        "## Model\n",
        _model(cfg, model),
        "## Training\n",
        _training(cfg, dataset, facts),
        "## Evaluation\n",
        _evaluation(dataset, facts),
        "## Not measured\n",
        _not_measured(facts),
    ]
    return "\n".join(parts)


def _metadata(dataset: str, facts: RunFacts) -> dict[str, Any]:
    metadata: dict[str, Any] = {"license": facts.licence} if facts.licence else {}
    metadata |= {
        "library_name": "stageinteractor",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "stageinteractor", "detectron2"],
    }
    if facts.metrics:
        values = facts.metrics.items()
        metrics = [{"type": name, "value": round(value, 2)} for name, value in values]
        metadata["model-index"] = [
            {
                "name": "stageinteractor",
                "results": [
                    {
                        "task": {"type": "object-detection"},
                        "dataset": {"type": dataset, "name": dataset, "split": "validation"},
                        "metrics": metrics,
                    }
                ],
            }
        ]
    return metadata


def _use() -> str:
    return (
        "```python\n"
        "from stageinteractor import Predictor\n\n"
        'predictor = Predictor.from_pretrained("OWNER/NAME")  # or a folder with these files\n'
        'instances = predictor("photo.jpg")\n'
        "```\n"
    )


def _model(cfg: DictConfig, model: nn.Module) -> str:
    names = [str(name) for name in OmegaConf.select(cfg, "dataset.class_names", default=None) or ()]
    shown = ", ".join(printable(name) for name in names[:MAX_NAMES])
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    queries = OmegaConf.select(cfg, "model.queries.num_queries", default="see the config")
    lines = [
        f"- parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M",
        f"- queries: {queries}",
        f"- classes: {len(names) or 'see the config'}{f' ({shown}{more})' if names else ''}",
        f"- written by stageinteractor {__version__}",
    ]
    return "\n".join(lines) + "\n"


def _training(cfg: DictConfig, dataset: str, facts: RunFacts) -> str:
    def setting(key: str) -> Any:
        return OmegaConf.select(cfg, key, default="not stated")

    lines = [
        f"- data: the training split of {printable(dataset)}",
        f"- iterations: {setting('train.max_iter')}",
        f"- images per batch: {setting('dataloader.train.total_batch_size')}",
        f"- learning rate: {setting('optimizer.lr')}",
        f"- seed: {setting('train.seed')}",
        f"- command: {f'`{printable(facts.command)}`' if facts.command else 'not recorded'}",
        f"- licence of the weights: {facts.licence or 'not stated'}",
    ]
    return "\n".join(lines) + "\n"


def _evaluation(dataset: str, facts: RunFacts) -> str:
    if not facts.metrics:
        return "No evaluation is recorded for these weights.\n"
    rows = [f"| {name} | {value:.2f} |" for name, value in facts.metrics.items()]
    return (
        "\n".join(
            [f"On the validation split of {printable(dataset)}:\n", "| metric | % |", "|---|---|"]
            + rows
        )
        + "\n"
    )


def _not_measured(facts: RunFacts) -> str:
    known = "any other data" if facts.metrics else "any data"
    return (
        f"- accuracy on {known}, or under other cameras, lighting and resolutions\n"
        "- differences between groups of people or places that the images show\n"
        "- speed on a particular machine\n"
    )
