"""Inputs and the user's own files are neither replaced nor removed; earlier results are."""

import os
from pathlib import Path

import pytest

from stageinteractor.errors import OutputError
from stageinteractor.output_folder import OutputFolder, refuse_overwriting_inputs


def write(folder: Path, name: str, text: str = "result", inputs: tuple[Path, ...] = ()) -> None:
    OutputFolder(folder, inputs).path(name).write_text(text)


def test_results_of_an_earlier_run_are_replaced(tmp_path: Path):
    for text in ("first", "second"):
        write(tmp_path / "out", "a.png", text)
    assert (tmp_path / "out" / "a.png").read_text() == "second"


@pytest.mark.parametrize("name", ["a.png", "sub/a.png", "new\nline.png", os.fsdecode(b"caf\xe9")])
def test_the_users_own_files_are_refused_by_name(tmp_path: Path, name: str):
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("the user's own")
    folder = OutputFolder(tmp_path)
    for refuse in (folder.path, lambda name: folder.check([name])):
        with pytest.raises(OutputError) as caught:
            refuse(name)
        assert str(own) in str(caught.value)
    folder.remove(name)
    assert own.read_text() == "the user's own"
    own.unlink()
    write(tmp_path, name)
    write(tmp_path, name)  # now it is ours


def test_a_link_of_the_users_is_refused(tmp_path: Path):
    (tmp_path / "a.png").symlink_to("nowhere.png")
    with pytest.raises(OutputError, match=r"a\.png"):
        OutputFolder(tmp_path).path("a.png")


def test_an_earlier_result_that_is_read_now_is_refused(tmp_path: Path):
    write(tmp_path, "a.png")
    with pytest.raises(OutputError, match=r"a\.png"):
        OutputFolder(tmp_path, [tmp_path / "a.png"]).check(["b.png", "a.png"])


def test_only_results_are_removed(tmp_path: Path):
    write(tmp_path, "a.png")
    OutputFolder(tmp_path).remove("a.png")
    OutputFolder(tmp_path).remove("a.png")
    assert not (tmp_path / "a.png").exists()


def test_two_results_of_one_name_are_refused(tmp_path: Path):
    with pytest.raises(OutputError, match=r"a\.tif\.jpg"):
        OutputFolder(tmp_path).check(["a.tif.jpg", "b.jpg", "a.tif.jpg"])


def test_a_damaged_record_protects_what_it_does_not_name(tmp_path: Path):
    write(tmp_path, "a.png")
    (tmp_path / "b.png").write_text("the user's own")
    with (tmp_path / ".written_by_stageinteractor").open("ab") as record:
        record.write(b"\xff\n" + b"[" * 100_000 + b'\n"b.pn')
    folder = OutputFolder(tmp_path)
    assert folder.path("a.png").is_file()
    with pytest.raises(OutputError, match=r"b\.png"):
        folder.path("b.png")


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, link):
    (tmp_path / "in.json").write_text("{}")
    output = tmp_path / "." / "in.json"
    if link is not None:
        output = tmp_path / "out.json"
        link(tmp_path / "in.json", output)
    with pytest.raises(OutputError, match=output.name):
        refuse_overwriting_inputs([tmp_path / "new.json", output], [tmp_path / "in.json"])


def test_inputs_are_looked_up_where_a_result_exists_only(tmp_path: Path):
    class Input(type(tmp_path)):  # type: ignore[misc]
        def __fspath__(self) -> str:
            raise AssertionError("looked up")

    photo = Input(tmp_path / "photo.jpg")
    refuse_overwriting_inputs([tmp_path / "a.png"], [photo])
    write(tmp_path, "a.png", inputs=(photo,))
    with pytest.raises(AssertionError, match="looked up"):
        OutputFolder(tmp_path, [photo]).check(["a.png"])


def test_outputs_beside_inputs_are_fine(tmp_path: Path):
    (tmp_path / "in.json").write_text("{}")
    (tmp_path / "old.json").write_text("{}")
    outputs = [tmp_path / "old.json", tmp_path / "new.json", "/dev/null"]
    refuse_overwriting_inputs(outputs, [tmp_path / "in.json", tmp_path / "gone", "/dev/null"])
