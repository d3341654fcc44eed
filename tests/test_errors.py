"""The one line that the command lines print."""

import pytest
from torch.utils.data import DataLoader, Dataset

from stageinteractor.errors import (
    DataError,
    first_lines,
    one_line,
)

MESSAGE = "photos/7.png (image id 7): cannot be read: truncated; remove it"


class BrokenImages(Dataset):
    """A set none of whose images can be read."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise DataError(MESSAGE)


def test_one_line_of_a_plain_error_is_its_message():
    assert one_line(DataError(MESSAGE)) == MESSAGE
    assert one_line(DataError(f"  {MESSAGE}\n")) == MESSAGE


def test_one_line_of_a_message_of_several_lines_is_all_of_it():
    assert one_line(DataError("set.yaml: expected a colon\n  in line 3\n    ^")) == (
        "set.yaml: expected a colon in line 3 ^"
    )


def test_one_line_of_an_error_without_message_is_its_type():
    assert one_line(DataError()) == "DataError"


def test_one_line_of_a_data_worker_error():
    loader = DataLoader(BrokenImages(), batch_size=None, num_workers=1)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert len(str(caught.value).splitlines()) > 3  # torch put the traceback into it
    assert one_line(caught.value) == MESSAGE


def test_one_line_of_a_name_with_an_escape_sequence_shows_it():
    assert (
        one_line(DataError("\x1b[2Jcat\udce9.png: no image")) == r"\x1b[2Jcat\udce9.png: no image"
    )


def test_first_lines_are_whole():
    lines = ["Error(s) in loading state_dict:", *(f"\tsize mismatch for {k}" for k in "abcdef")]
    text = first_lines(RuntimeError("\n".join(lines)), limit=80)
    assert text == "Error(s) in loading state_dict: size mismatch for a size mismatch for b ..."
    assert first_lines(RuntimeError("\n".join(lines[:3]))) == text.removesuffix(" ...")


def test_first_lines_are_cut_at_a_word():
    names = [f'"backbone.layer{number}.weight"' for number in range(99)]
    error = RuntimeError("Error(s) in loading state_dict:\n\tMissing key(s): " + ", ".join(names))
    *words, last = first_lines(error, limit=120).split()
    assert last == "..." and words[-1].strip(",") in names
