"""A YAML text of a few bytes cannot cost more than a config."""

from pathlib import Path

import pytest

from stageinteractor.config import load_config
from stageinteractor.errors import ConfigError
from stageinteractor.plain_yaml import MAX_BYTES, MAX_DEPTH, MAX_NODES, read_plain


def bomb(line: str, levels: int) -> str:
    """Each level stands for several of the one before."""
    first = "l0: &l0 {a: [x, x, x, x]}\n"
    return first + "".join(line.format(this=n, before=n - 1) for n in range(1, levels))


ATTACKS = {
    "aliases": bomb("l{this}: &l{this} [*l{before}, *l{before}, *l{before}]\n", 40),
    "aliases in mappings": bomb("l{this}: &l{this} {{a: *l{before}, b: *l{before}}}\n", 49),
    "merged mappings": bomb("l{this}: &l{this} {{<<: [*l{before}, *l{before}]}}\n", 49),
    "an alias in itself": "a: &a [*a]",
    "a mapping in itself": "a: &a {b: *a}",
    "open lists": "a: " + "[" * 10_000,
    "nested lists": "a: " + "[" * 200 + "]" * 200,
    "nested mappings": "\n".join(" " * level + "a:" for level in range(200)),
    "many digits": "a: " + "1" * 5000,
    "many digits of 16": "a: 0x" + "f" * 5000,
    "many sixties": "a: 1" + ":10" * 2000,
    "no date": "a: 2024-13-45",
    "no truth": "a: !!bool x",
    "no number": "a: !!int x",
    "no time": "a: !!timestamp x",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_one_line(tmp_path: Path, name: str):
    (tmp_path / "config.yaml").write_text(ATTACKS[name])
    with pytest.raises(ConfigError, match=r"config\.yaml") as caught:
        load_config(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "config.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="bytes"):
        load_config(tmp_path / "config.yaml")


def test_what_is_within_the_limits_is_read(tmp_path: Path):
    depth = MAX_DEPTH - 2
    text = f"a: &a {'[' * depth}{']' * depth}\nb: *a\nc: {'1' * 100}\n"
    (tmp_path / "config.yaml").write_text(text)
    cfg = load_config(tmp_path / "config.yaml")
    assert cfg.a == cfg.b and cfg.c == int("1" * 100)


def test_aliases_count_as_what_they_stand_for():
    names = ", ".join("x" for _ in range(1000))
    count = MAX_NODES // 1001
    assert len(read_plain(f"- &a [{names}]\n" + "- *a\n" * (count - 2))) == count - 1
