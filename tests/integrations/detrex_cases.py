"""Models of detrex in training, and what they are shown."""

import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances


def two_images(height: int, width: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    batch = []
    for count in (6, 3):
        middles = torch.rand(count, 2) * torch.tensor([width, height]) * 0.6 + 20
        sizes = torch.rand(count, 2) * 20 + 20
        objects = Instances((height, width))
        objects.gt_boxes = Boxes(torch.cat([middles - sizes / 2, middles + sizes / 2], dim=1))
        objects.gt_classes = torch.randint(4, (count,))
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        batch.append({"image": image, "instances": objects, "height": height, "width": width})
    return batch


def build_model(cfg):
    torch.manual_seed(1)
    model = instantiate(cfg.model).train()
    with torch.no_grad():  # boxes and classes that differ between the layers
        for name, parameter in model.named_parameters():
            if "bbox_embed" in name or "class_embed" in name:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return model
