"""Gradients of training steps, by as many processes as asked for; run by test_gradients.py.

A case is one step: a list of batches of four images, each a list of ground-truth boxes. The
processes share the images evenly; the gradients are those of the optimizer step.
"""

import argparse
import sys
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

from stageinteractor.config import apply_overrides, instantiate, load_config
from stageinteractor.engine.build import wrap_ddp
from stageinteractor.engine.launch import launch
from stageinteractor.engine.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import CONFIG, TINY, _randomise

SIZE, IMAGES = 64, 4
ONE, TWO = (8.0, 8.0, 40.0, 30.0, 0), (30.0, 20.0, 60.0, 60.0, 2)
FAR = (1.0, 1.0, 2.0, 2.0, 1)  # overlaps with no prediction


def build_model(dtype):
    cfg = load_config(CONFIG)
    apply_overrides(cfg, TINY)
    cfg.dataset.num_classes = 3
    cfg.model.backbone.fixed_statistics = True
    torch.manual_seed(0)
    return _randomise(instantiate(cfg.model, "model")).to(dtype)


def images_of(dtype):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, SIZE, SIZE, generator=generator).to(dtype) * 255 for _ in range(IMAGES)]


@torch.no_grad()
def detections(model, images):
    """Return slightly moved detections as ground truth: several predictions overlap them."""
    model.eval()
    results = [x["instances"] for x in model([{"image": image} for image in images])]
    model.train()
    return [
        [
            (*(box + 0.5).tolist(), int(label))
            for box, label in zip(x.pred_boxes.tensor[:2], x.pred_classes[:2], strict=True)
        ]
        for x in results
    ]


def cases(model, images):
    predicted = detections(model, images)
    return {
        "objects everywhere": [[[ONE], [ONE, TWO], [TWO, ONE, FAR], [TWO]]],
        "objects on one rank": [[[], [], [ONE, TWO], [TWO]]],
        "one object in all": [[[], [], [], [TWO]]],
        "no object": [[[], [], [], []]],
        "more labels than matches on one rank, fewer on the other": [
            [predicted[0], predicted[1], [FAR], [FAR, FAR, FAR]]
        ],
        "two batches per step": [[[ONE], [], [TWO], [ONE, TWO]], [[], [], [FAR], predicted[3]]],
    }


def batch(images, objects, dtype):
    """Return this rank's part of four images."""
    items = []
    for number, (image, gt) in enumerate(zip(images, objects, strict=True)):
        instances = Instances((SIZE, SIZE))
        instances.gt_boxes = Boxes(torch.tensor([x[:4] for x in gt], dtype=dtype).view(-1, 4))
        instances.gt_classes = torch.tensor([x[4] for x in gt], dtype=torch.long)
        items.append({"image": image, "instances": instances, "image_id": number})
    share = IMAGES // comm.get_world_size()
    return items[comm.get_rank() * share :][:share]


def work(out):
    content = {dtype: results(dtype) for dtype in (torch.float32, torch.float64)}
    torch.save(content, f"{out}.{comm.get_rank()}")


def results(dtype):
    """Return of every case the gradients, and of its batches the (labels, matches) of a stage."""
    model = build_model(dtype)
    images = images_of(dtype)
    targets = cases(model, images)
    counts = []
    averages = model.criterion._normalizers

    def note(assignment, num_labels):
        counts[-1].append([num_labels, (assignment.matches >= 0).sum((1, 2))])
        return averages(assignment, num_labels)

    model.criterion._normalizers = note
    model = wrap_ddp(model)
    gradients = {}
    for case, batches in targets.items():
        counts.append([])
        trainer = Trainer(
            model,
            [batch(images, objects, dtype) for objects in batches],
            torch.optim.SGD(model.parameters(), lr=0.0),
            accumulate=len(batches),
        )
        trainer.train(0, 1)
        gradients[case] = {
            name.removeprefix("module."): parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
    return {"gradients": gradients, "counts": dict(zip(targets, counts, strict=True))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("processes", type=int)
    parsed = parser.parse_args()
    launch(work, (parsed.out,), num_processes=parsed.processes)
