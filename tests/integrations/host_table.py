"""Write docs/hosts.md: what each model of transformers and detrex is served, by trying it.

  PYTHONPATH=projects:tests:path/to/detrex python -m integrations.host_table

Without detrex on the path, its table stays as it is. Every cell is a training step of a small model
with random weights. "yes" means finite losses; else the cell has the number of a note: the message
with which it is refused. An error that is no refusal ends the script.
"""

import sys
import warnings
from pathlib import Path

import torch
import transformers
from detectron2.config import instantiate
from integrations import detrex_host, detrex_table, hf_models
from integrations.detrex_table import tried
from integrations.test_transformers_refusals import REFUSED, without_weights
from transformers.loss.loss_rf_detr import RfDetrHungarianMatcher

from stageinteractor import get_config
from stageinteractor.assigner import PerStageAssigner
from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations import transformers as hf
from stageinteractor.integrations.duplicate_removal import remove_duplicates
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.integrations.mask_cost import PositionModulatedMaskMatcher
from stageinteractor.integrations.memory_fusion import DenseFusion, fuse_memory
from stageinteractor.modeling import DuplicateSuppressor

PAGE = Path(__file__).parents[2] / "docs/hosts.md"
COLUMNS = ["cross-stage labels", "position-supervised loss", "modulated cost", "memory fusion"]
COLUMNS += ["duplicate removal"]


def rt_detr_v2():
    return transformers.RTDetrV2ForObjectDetection(
        transformers.RTDetrV2Config(backbone_config=hf_models.rt_resnet(), **hf_models.rt_family())
    )


SIDES = 64, 112  # pixels, of the images of most models and of RF-DETR and masks
TRANSFORMERS = {
    "ConditionalDetrForObjectDetection": lambda: hf_models.detr("ConditionalDetr"),
    "DFineForObjectDetection": hf_models.d_fine,
    "DabDetrForObjectDetection": lambda: hf_models.detr("DabDetr"),
    "Deimv2ForObjectDetection": hf_models.deim_v2,
    "Deimv2ForObjectDetection`, `use_dense_one_to_one=False": lambda: hf_models.deim_v2(
        use_dense_one_to_one=False
    ),
    "DeformableDetrForObjectDetection": hf_models.deformable_detr,
    "DetrForObjectDetection": lambda: hf_models.detr("Detr"),
    "DetrForSegmentation": lambda: hf_models.detr_segmentation(num_labels=3),
    "LwDetrForObjectDetection": hf_models.lw_detr,
    "RTDetrForObjectDetection": hf_models.rt_detr,
    "RTDetrV2ForObjectDetection": rt_detr_v2,
    "RfDetrForObjectDetection": lambda: hf_models.rf_detr(num_labels=3),
    "RfDetrForInstanceSegmentation": lambda: hf_models.rf_detr_segmentation(num_labels=3),
    "TableTransformerForObjectDetection": lambda: hf_models.detr("TableTransformer"),
}


def batch(model):
    """Return images (2, 3, H, W) and their labels, with masks if the model predicts some."""
    name = type(model).__name__
    masks = name.endswith("Segmentation")
    side = SIDES[masks or name.startswith("RfDetr")]
    labels = [
        {"class_labels": torch.tensor([0, 2]), "boxes": torch.tensor([[0.3, 0.3, 0.2, 0.2]] * 2)},
        {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.6, 0.5, 0.5, 0.3]])},
    ]
    if masks:
        for label in labels:
            label["masks"] = torch.ones(len(label["boxes"]), side, side)
    return torch.rand(2, 3, side, side), labels


def modulated_matcher(model):
    if isinstance(model, transformers.RfDetrForInstanceSegmentation):
        return PositionModulatedMaskMatcher(RfDetrHungarianMatcher())
    return PositionModulatedHostMatcher()


def encoder_of(model):
    """Return the outermost module called encoder, or backbone where there is no such encoder."""
    names = [name.split(".") for name, _ in model.named_modules()]
    names = [name for name in names if name[-1] in ("encoder", "backbone")]
    return model.get_submodule(
        ".".join(min(names, key=lambda name: (len(name), name[-1][0] == "b")))
    )


def transformers_cell(make, column):
    """Train a model of transformers for one step, with what a column names."""
    model = host = make()
    if column == 0:
        hf.use_cross_stage(model)
    elif column == 1:
        loss = instantiate(get_config("common/class_loss.py").position_supervised)
        hf.use_cross_stage(model, PerStageAssigner(), "host", class_loss=loss)
    elif column == 2:
        hf.use_cross_stage(model, PerStageAssigner(), matcher=modulated_matcher(model))
    elif column == 3:
        encoder = encoder_of(model)
        fuse_memory(encoder, DenseFusion(32, len(getattr(encoder, "layers", ()) or (0,))))
    elif column == 4:
        suppressor = DuplicateSuppressor(embed_dim=32, num_classes=3, feedforward_dim=64)
        model = remove_duplicates(model, suppressor)
    images, labels = batch(host)
    loss = model.train()(images, labels=labels).loss
    assert loss.isfinite(), make
    loss.backward()


def refused(name):
    """Return the refusal of a class of transformers, built without weights."""
    try:
        hf.use_cross_stage(without_weights(getattr(transformers, name)))
    except UnsupportedHostError as error:
        return [str(error)] * 3 + ["-"] * 2
    raise AssertionError(name)


def rows():
    """Yield the name of every host and its cells."""
    for name, make in TRANSFORMERS.items():
        yield f"`{name}`", [tried(transformers_cell, make, column) for column in range(5)]
    for name in REFUSED:
        if hasattr(transformers, name):
            yield f"`{name}`", refused(name)


def markdown(table):
    """Return a table with its notes in order."""
    notes: list[str] = []
    lines = ["| detector | " + " | ".join(COLUMNS) + " |", "|---" * 6 + "|"]
    for name, cells in table:
        for cell in cells:
            if cell not in ("yes", "-") and cell not in notes:
                notes.append(cell)
        shown = [
            cell if cell in ("yes", "-") else f"no ({notes.index(cell) + 1})" for cell in cells
        ]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += ["", "Refusals:", ""]
    lines += [
        f"{number}. {note.replace('*', chr(92) + '*')}" for number, note in enumerate(notes, 1)
    ]
    return "\n".join(lines) + "\n"


def section(introduction, table):
    """Return a part of the page."""
    return f"{introduction}\n{markdown(table)}"


def on_page(heading):
    """Return the part of the page from a heading to the next one."""
    text = PAGE.read_text(encoding="utf-8")
    first = text.index(heading)
    after = text.find("\n## ", first)
    return text[first:] if after < 0 else text[first : after + 1]


HEADINGS = "## Detectors of transformers", "## Detectors of detrex"
INTRODUCTION = """# Other detectors

What is supported, as tested: `PYTHONPATH=projects:tests:path/to/detrex python -m
integrations.host_table` trains a small model with random weights for one step in every cell:
cross-stage labels, the position-supervised loss, the position-modulated cost and dense memory
fusion of [stable matching](stable_matching.md), and [duplicate removal](duplicate_removal.md).
"yes" is a step with finite losses, "no" a refusal with the message below, "-" was not tried.

"""
OF_TRANSFORMERS = f"""{HEADINGS[0]}

With transformers {transformers.__version__}. Segmentation models are trained on boxes and masks;
the matcher of RF-DETR's is wrapped in `PositionModulatedMaskMatcher`.
"""


def main():
    warnings.simplefilter("ignore")
    if detrex_host.is_here():
        of_detrex = section(detrex_table.INTRODUCTION, detrex_table.rows())
    else:
        of_detrex = on_page(HEADINGS[1])
    of_transformers = section(OF_TRANSFORMERS, rows())
    PAGE.write_text(f"{INTRODUCTION}{of_transformers}\n{of_detrex}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
