"""Images as a model receives them are drawn in their own colours."""

import numpy as np
import pytest
import torch
from PIL import Image

from stageinteractor.data.image_io import as_array
from stageinteractor.visualization.mapped_records import labelled_boxes, record_image


@pytest.mark.parametrize("image_format", ["RGB", "BGR", "L"])
def test_colours_are_those_of_the_file(image_format):
    color = (90, 90, 90) if image_format == "L" else (200, 100, 0)
    image = Image.new("RGB", (3, 2), color)
    pixels = as_array(image, image_format).reshape(2, 3, -1)
    record = {"image": torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))}
    assert np.array_equal(np.asarray(record_image(record, image_format)), np.asarray(image))


def test_boxes_have_class_and_score():
    boxes, classes = torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([1])
    (plain,) = labelled_boxes(boxes, classes, ["a", "b"])
    (scored,) = labelled_boxes(boxes, classes, ["a", "b"], torch.tensor([0.5]))
    assert (plain.text, scored.text) == ("b", "b 0.50")
    assert plain.xyxy == (0.0, 1.0, 2.0, 3.0) and plain.class_index == 1
