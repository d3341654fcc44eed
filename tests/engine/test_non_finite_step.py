import torch
from detectron2.structures import BitMasks, Boxes, Instances

from stageinteractor.engine.non_finite_step import model_batch, plain_batch
from stageinteractor.engine.weights import read_checkpoint


def test_what_a_model_takes_survives_a_file(tmp_path):
    instances = Instances((4, 6))
    instances.gt_boxes = Boxes(torch.tensor([[0.0, 1, 2, 3]]))
    instances.gt_classes = torch.tensor([2])
    instances.gt_masks = BitMasks(torch.zeros(1, 4, 6))  # of no use to a detector of boxes
    image = torch.arange(72, dtype=torch.uint8).view(3, 4, 6)
    item = {"image": image, "instances": instances, "image_id": 5, "file_name": "a.png"}
    torch.save({"batch": plain_batch([item | {"transform": object()}])}, tmp_path / "batch.pth")
    (found,) = model_batch(read_checkpoint(tmp_path / "batch.pth")["batch"])
    assert found.keys() == item.keys()
    assert torch.equal(found["image"], image) and found["image_id"] == 5
    assert found["instances"].image_size == (4, 6)
    assert set(found["instances"].get_fields()) == {"gt_boxes", "gt_classes"}
    assert torch.equal(found["instances"].gt_boxes.tensor, instances.gt_boxes.tensor)
    assert torch.equal(found["instances"].gt_classes, instances.gt_classes)
