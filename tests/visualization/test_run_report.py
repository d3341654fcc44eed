"""Pictures have the right size, and colours where they belong."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stageinteractor.data.coco_format import CocoSet, read_coco
from stageinteractor.errors import DataError
from stageinteractor.visualization.box_drawing import (
    BACKGROUND,
    DrawnBox,
    class_color,
    draw_boxes,
    image_grid,
)
from stageinteractor.visualization.curves import plot_curves, read_metrics
from stageinteractor.visualization.detections import WIDTH, comparison_grid, ground_truth_sheet
from stageinteractor.visualization.run_report import compare_runs, write_report

Json = dict[str, Any]
GRAY = (90, 90, 90)
LARGE_GRAY = Image.new("RGB", (200, 100), GRAY)


def has_color(picture: Image.Image, color: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture.convert("RGB")) == color).all(-1).any())


@pytest.fixture
def coco_set(tmp_path: Path) -> CocoSet:
    """20 images of 64x48, each of its own gray, in a folder "photos"; image 1 has an object."""
    (tmp_path / "photos").mkdir()
    images = []
    for number in range(20):
        name = f"{number}.png"
        gray = (5 + 10 * number,) * 3
        Image.new("RGB", (64, 48), gray).save(tmp_path / "photos" / name)
        images.append({"id": number + 1, "file_name": name, "height": 48, "width": 64})
    content = {
        "images": images,
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [16, 24, 32, 12]}],
        "categories": [{"id": 7, "name": "person"}, {"id": 19, "name": "car"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return read_coco(tmp_path / "val.json")


RESULTS = [
    {"image_id": 1, "category_id": 19, "bbox": [8, 20, 40, 20], "score": 0.75},
    {"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "score": 0.1},
]


# Boxes


def test_drawn_box_has_its_outline_and_color():
    color = class_color(3)
    picture = draw_boxes(LARGE_GRAY, [DrawnBox((40, 20, 160, 90), 3, "")])
    assert picture.size == (200, 100)
    for position in ((100, 20), (100, 90), (40, 80), (160, 50)):
        assert picture.getpixel(position) == color
    for position in ((100, 50), (20, 50), (180, 50), (100, 95)):
        assert picture.getpixel(position) == GRAY


def test_drawn_boxes_grow_with_the_picture():
    picture = draw_boxes(LARGE_GRAY, [DrawnBox((40, 20, 160, 90), 0, "")], scale=2.0)
    assert picture.size == (400, 200)
    assert picture.getpixel((200, 40)) == picture.getpixel((80, 160)) == class_color(0)
    assert picture.getpixel((200, 100)) == GRAY


def test_drawn_text_is_dark_on_the_color_of_its_class():
    with_text = draw_boxes(LARGE_GRAY, [DrawnBox((40, 20, 160, 90), 1, "person 0.93")])
    without = draw_boxes(LARGE_GRAY, [DrawnBox((40, 20, 160, 90), 1, "")])
    darkest, darkest_without = (np.asarray(p).sum(-1).min() for p in (with_text, without))
    assert darkest < 150 < sum(GRAY) == darkest_without
    colored, plain = ((np.asarray(p) == class_color(1)).all(-1).sum() for p in (with_text, without))
    assert colored > plain


def test_later_boxes_cover_earlier_ones():
    box = (40, 20, 160, 90)
    picture = draw_boxes(LARGE_GRAY, [DrawnBox(box, 0, ""), DrawnBox(box, 1, "")])
    assert picture.getpixel((100, 90)) == class_color(1)
    assert not has_color(picture, class_color(0))


def test_drawing_leaves_the_picture_itself_alone():
    picture = LARGE_GRAY.copy()
    draw_boxes(picture, [DrawnBox((40, 20, 160, 90), 0, "x")])
    assert picture.getcolors() == [(20000, GRAY)]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_picture_of_another_mode_is_drawn_in_color(mode: str):
    picture = draw_boxes(LARGE_GRAY.convert(mode), [DrawnBox((40, 20, 160, 90), 0, "")])
    assert picture.mode == "RGB"
    assert has_color(picture, class_color(0))


@pytest.mark.parametrize(
    "box", [(-50, -50, 500, 500), (150, 80, 40, 20), (10, 10, 10, 10), (500, 500, 600, 600)]
)
def test_boxes_across_the_edges_or_turned_over_can_be_drawn(box: tuple[float, ...]):
    assert draw_boxes(LARGE_GRAY, [DrawnBox(box, 0, "car")]).size == (200, 100)


@pytest.mark.parametrize("text_above", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1e308, 1e308),
        (0, 0, 10**30, 10**30),
        (1e300, 1e300, 1e300, 1e300),
        (-1e300, -1e300, 1e300, 1e300),
        (10**300, 0, 10**300 + 1, 1),
    ],
)
def test_boxes_far_beyond_the_image_are_drawn_at_once(box: tuple[float, ...], text_above: bool):
    drawn = draw_boxes(Image.new("RGB", (60, 40)), [DrawnBox(box, 0, "cat")], 2.0, text_above)
    assert drawn.size == (120, 80)


def test_colors_of_many_classes_differ():
    colors = [class_color(index) for index in range(80)]
    assert len(set(colors)) == 80
    assert all(min(color) >= 0 and max(color) <= 255 for color in colors)
    for one, next_one in zip(colors, colors[1:], strict=False):
        assert math.dist(one, next_one) > 100


# Grids


def test_grid_lays_pictures_out_row_by_row():
    pictures = [Image.new("RGB", (20, 10), (number, 0, 0)) for number in range(1, 6)]
    sheet = image_grid(pictures, columns=3, gap=4)
    assert sheet.size == (3 * 20 + 2 * 4, 2 * 10 + 4)
    for number, corner in enumerate([(0, 0), (24, 0), (48, 0), (0, 14), (24, 14)], start=1):
        assert sheet.getpixel(corner) == (number, 0, 0)
        assert sheet.getpixel((corner[0] + 19, corner[1] + 9)) == (number, 0, 0)
    assert sheet.getpixel((22, 5)) == sheet.getpixel((50, 15)) == BACKGROUND


def test_grid_of_fewer_pictures_than_columns_is_as_narrow_as_they_are():
    assert image_grid([LARGE_GRAY, LARGE_GRAY], columns=6, gap=6).size == (406, 100)


def test_grid_has_room_for_the_largest_picture():
    sheet = image_grid([Image.new("RGB", (10, 50)), Image.new("RGB", (30, 20))], 2, gap=0)
    assert sheet.size == (60, 50)


def test_titles_stand_above_the_columns():
    plain = image_grid([LARGE_GRAY] * 2, 2)
    titled = image_grid([LARGE_GRAY] * 2, 2, titles=["left", "right", "nowhere"])
    assert titled.size == (plain.width, plain.height + 24)
    for left in (0, 206):
        assert (np.asarray(titled.crop((left, 0, left + 100, 24))) < 128).any()
    assert titled.crop((0, 24, *titled.size)).tobytes() == plain.tobytes()


def test_grid_without_pictures_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        image_grid([], 3)


# Ground truth and detections


def test_ground_truth_sheet_shows_the_first_images(coco_set: CocoSet, tmp_path: Path):
    sheet = ground_truth_sheet(coco_set, tmp_path / "photos", count=2, columns=6)
    assert sheet.size == (2 * WIDTH + 6, WIDTH * 48 // 64)
    scale = WIDTH / 64
    assert sheet.getpixel((round(20 * scale), round(36 * scale))) == class_color(0)
    assert sheet.getpixel((WIDTH + 6 + 10, 10)) == (15, 15, 15)  # the second image has no box


def test_comparison_has_ground_truth_on_the_left_and_good_detections_on_the_right(
    coco_set: CocoSet, tmp_path: Path
):
    grid = comparison_grid(coco_set, tmp_path / "photos", RESULTS, count=1, pairs=1)
    assert grid.size == (2 * WIDTH + 6, 24 + WIDTH * 48 // 64)
    left, right = grid.crop((0, 24, WIDTH, 264)), grid.crop((WIDTH + 6, 24, 2 * WIDTH + 6, 264))
    person, car = class_color(0), class_color(1)
    assert has_color(left, person) and not has_color(left, car)
    assert has_color(right, car) and not has_color(right, person)  # 0.1 is below the threshold
    everything = comparison_grid(
        coco_set, tmp_path / "photos", RESULTS, min_score=0.05, count=1, pairs=1
    )
    assert has_color(everything.crop((WIDTH + 6, 24, *everything.size)), person)


def shown_grays(grid: Image.Image, rows: int, columns: int) -> list[int]:
    """Gray of the lower right corner of each cell of a grid with titles."""
    width, height = WIDTH + 6, WIDTH * 48 // 64 + 6
    return [
        grid.getpixel((column * width + WIDTH - 5, 24 + row * height + height - 12))[0]
        for row in range(rows)
        for column in range(columns)
    ]


def test_comparison_of_few_of_many_images_is_spread_over_the_set(coco_set: CocoSet, tmp_path: Path):
    grid = comparison_grid(coco_set, tmp_path / "photos", [], count=4, pairs=2)
    assert shown_grays(grid, rows=2, columns=4) == [5, 5, 55, 55, 105, 105, 155, 155]


def test_comparison_of_most_images_is_spread_over_the_set(coco_set: CocoSet, tmp_path: Path):
    grid = comparison_grid(coco_set, tmp_path / "photos", [], count=12, pairs=3)
    shown = shown_grays(grid, rows=4, columns=6)
    assert len(set(shown)) == 12
    assert max(shown) >= 5 + 10 * 17  # one of the last three


def test_comparison_of_more_images_than_there_are_shows_all(coco_set: CocoSet, tmp_path: Path):
    grid = comparison_grid(coco_set, tmp_path / "photos", [], count=50, pairs=2)
    assert shown_grays(grid, rows=10, columns=4)[::2] == [5 + 10 * number for number in range(20)]


# Curves


def metrics_lines() -> list[Json]:
    lines: list[Json] = [
        {
            "iteration": i,
            "total_loss": 9 / (i + 1),
            "loss_class_9": 1.0,
            "loss_class_10": 2.0,
            "lr": 1e-4,
        }
        for i in range(0, 60, 20)
    ]
    return lines + [{"iteration": 59, "bbox/AP": 12.25, "bbox/AP50": 30.0, "bbox/APl": math.nan}]


def write_metrics(folder: Path) -> Path:
    path = folder / "metrics.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in metrics_lines()))
    return path


def test_metrics_are_read_by_name(tmp_path: Path):
    series = read_metrics(write_metrics(tmp_path))
    assert series["total_loss"] == ([0, 20, 40], [9, 9 / 21, 9 / 41])
    assert series["bbox/AP"] == ([59], [12.25])
    assert math.isnan(series["bbox/APl"][1][0])
    assert "iteration" not in series


def test_iterations_done_twice_count_once_in_order(tmp_path: Path):
    lines = [(0, 3.0), (20, 2.0), (40, 1.5), (20, 2.5), (40, 1.0)]  # stopped, resumed after 0
    path = tmp_path / "metrics.json"
    path.write_text("\n".join(json.dumps({"iteration": i, "lr": value}) for i, value in lines))
    assert read_metrics(path) == {"lr": ([0, 20, 40], [3.0, 2.5, 1.0])}


def test_metrics_that_are_missing_say_who_writes_them(tmp_path: Path):
    with pytest.raises(DataError, match=r"metrics\.json: no such file; .*train_net"):
        read_metrics(tmp_path / "metrics.json")


def test_broken_line_of_metrics_is_named(tmp_path: Path):
    path = write_metrics(tmp_path)
    path.write_text(path.read_text() + '{"iteration": 79, "tot')
    with pytest.raises(DataError, match=r"metrics\.json, line 5: not JSON") as caught:
        read_metrics(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["3", '{"lr": 0.1}'])
def test_line_without_iteration_is_named(tmp_path: Path, line: str):
    path = write_metrics(tmp_path)
    path.write_text(path.read_text() + line)
    with pytest.raises(DataError, match=r"metrics\.json, line 5"):
        read_metrics(path)


def test_curves_show_the_losses_of_the_last_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(
        Axes, "legend", lambda axes: drawn.extend(axes.get_legend_handles_labels()[1])
    )
    plot_curves(read_metrics(write_metrics(tmp_path)), tmp_path / "curves.png")
    assert drawn == ["total_loss", "loss_class_10", "AP", "AP50"]
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


@pytest.mark.filterwarnings("error", "ignore::DeprecationWarning")
def test_curves_of_a_run_that_has_hardly_begun(tmp_path: Path):
    plot_curves({}, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"


# The report


@pytest.fixture
def run_folder(coco_set: CocoSet, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    write_metrics(folder)
    with (folder / "metrics.json").open("a") as file:
        later = {"iteration": 99, "bbox/AP-car": 31.0, "bbox/AP": 22.16, "bbox/AP50": 40.0}
        file.write(json.dumps(later) + "\n")
    (folder / "evaluation" / "coco_instances_results.json").write_text(json.dumps(RESULTS))
    val = {"json": coco_set.json_file, "images": str(tmp_path / "photos")}
    (folder / "config.yaml").write_text(json.dumps({"dataset": {"name": "tiny", "val": val}}))
    return folder


def test_report_is_the_table_of_the_last_evaluation(run_folder: Path):
    rows = [line.split() for line in write_report(run_folder).splitlines()]
    assert rows[0] == ["validation", "%"]
    names, values = zip(*rows[2:], strict=True)
    assert names == ("AP", "AP50", "AP-car")  # APl is NaN
    assert [float(value) for value in values] == [22.2, 40, 31]


def test_report_gives_every_number_one_decimal(run_folder: Path):
    values = [line.split()[1] for line in write_report(run_folder).splitlines()[2:]]
    assert values == ["22.2", "40.0", "31.0"]


def test_report_of_an_evaluation_with_nms_has_both_results(run_folder: Path):
    assert compare_runs([run_folder]).splitlines()[0].split() == ["run", "AP", "AP50", "AP75"]
    with (run_folder / "metrics.json").open("a") as file:
        later = {"iteration": 99, "bbox_nms/AP": 23.0, "bbox_nms/AP-car": 30.0}
        file.write(json.dumps(later) + "\n")
    head, _, *rows = write_report(run_folder).splitlines()
    assert head.split() == ["validation", "%", "after", "NMS"]
    assert [row.split() for row in rows] == [
        ["AP", "22.2", "23.0"],
        ["AP50", "40.0", "nan"],
        ["AP-car", "31.0", "30.0"],
    ]
    head, _, row = compare_runs([run_folder]).splitlines()
    assert head.split() == ["run", "AP", "AP50", "AP75", "AP", "after", "NMS"]
    assert row.split()[1:] == ["22.2", "40.0", "nan", "23.0"]


def test_report_writes_two_pictures(run_folder: Path, coco_set: CocoSet, tmp_path: Path):
    before = {path.name for path in run_folder.iterdir()}
    write_report(str(run_folder))
    written = {path.name for path in run_folder.iterdir()} - before
    assert written == {"curves.png", "val_grid.png"}
    wanted = comparison_grid(coco_set, tmp_path / "photos", RESULTS)
    with Image.open(run_folder / "val_grid.png") as picture:
        assert picture.tobytes() == wanted.tobytes()


def test_report_of_a_run_without_evaluation_says_so(run_folder: Path):
    (run_folder / "evaluation" / "coco_instances_results.json").unlink()
    with pytest.raises(DataError, match=r"coco_instances_results\.json: no such file; let the"):
        write_report(run_folder)


def test_report_of_an_empty_folder_says_so(tmp_path: Path):
    with pytest.raises(DataError, match=r"metrics\.json: no such file"):
        write_report(tmp_path)
