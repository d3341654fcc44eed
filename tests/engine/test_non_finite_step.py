import torch
from detectron2.structures import BitMasks, Boxes, Instances

from stageinteractor.engine.non_finite_step import savable_batch


def test_batch_is_rebuilt_from_a_file(tmp_path):
    instances = Instances((4, 6))
    instances.gt_boxes = Boxes(torch.tensor([[0.0, 1, 2, 3]]))
    instances.gt_classes = torch.tensor([2])
    instances.gt_masks = BitMasks(torch.zeros(1, 4, 6))  # dropped
    image = torch.arange(72, dtype=torch.uint8).view(3, 4, 6)
    item = {"image": image, "instances": instances, "image_id": 5, "file_name": "a.png"}
    torch.save({"batch": savable_batch([item | {"transform": object()}])}, tmp_path / "batch.pth")
    with torch.serialization.safe_globals([Boxes, Instances]):
        (rebuilt,) = torch.load(tmp_path / "batch.pth", weights_only=True)["batch"]
    assert rebuilt.keys() == item.keys()
    assert torch.equal(rebuilt["image"], image) and rebuilt["image_id"] == 5
    assert rebuilt["instances"].image_size == (4, 6)
    assert set(rebuilt["instances"].get_fields()) == {"gt_boxes", "gt_classes"}
    assert torch.equal(rebuilt["instances"].gt_boxes.tensor, instances.gt_boxes.tensor)
    assert torch.equal(rebuilt["instances"].gt_classes, instances.gt_classes)
