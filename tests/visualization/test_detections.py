"""Pictures as the detector saw them."""

from PIL import Image

from stageinteractor.data.coco_format import CocoSet
from stageinteractor.visualization.detections import ground_truth_sheet


def test_a_photo_turned_by_exif_is_drawn_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30)).save(tmp_path / "turned.jpg", exif=exif)
    image = {"id": 1, "file_name": "turned.jpg", "width": 30, "height": 60}
    coco_set = CocoSet("set.json", [image], [], [{"id": 1, "name": "thing"}])
    sheet = ground_truth_sheet(coco_set, tmp_path)
    assert sheet.size == (320, 640)
