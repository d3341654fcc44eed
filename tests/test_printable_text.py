"""What text from data looks like in a terminal."""

import re

import pytest

from stageinteractor.printable_text import as_markdown, encodable, printable, printable_lines

ESCAPED = {
    "\x1b[31mred": r"\x1b[31mred",
    "two\nlines\tand a tab\r": r"two\x0alines\x09and a tab\x0d",
    "\x00\x07\x7f": r"\x00\x07\x7f",
    "\x9b31m": r"\x9b31m",  # the eight-bit form of ESC [
    "photo\u202egpj.exe": r"photo\u202egpj.exe",
    "\u2066a\u2069\u2028": r"\u2066a\u2069\u2028",
    "caf\udce9.jpg": r"caf\udce9.jpg",
}


@pytest.mark.parametrize("text", ESCAPED)
def test_what_a_terminal_would_obey_is_escaped(text: str):
    assert printable(text) == ESCAPED[text]
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    "text", ["", "Bäume", "車", "عربي", "👩\u200d🌾", r"a\x1b", "no\u00a0break"]
)
def test_ordinary_text_is_unchanged(text: str):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:word@host/a.json: no such file", "https://***@host/a.json: no such file"),
        ("s3://b/a.pth?sig=x%3D/y&n=1: cannot", "s3://b/a.pth?***: cannot"),
        ("404, url='http://t@h:80/a?k=v'\n", "404, url='http://***@h:80/a?***'\n"),
        (
            "(http://h/a?k=v), hf://datasets/me/set@main/a",
            "(http://h/a?***), hf://datasets/me/set@main/a",
        ),
        ("is it a?b@c: /x?y", "is it a?b@c: /x?y"),
    ],
)
def test_secrets_of_a_url_are_not_shown(text: str, shown: str):
    assert printable_lines(text) == shown
    assert printable_lines(shown) == shown


def test_escaping_twice_changes_nothing():
    once = printable("\x1b]0;title\x07")
    assert printable(once) == once


def test_lone_surrogates_alone_are_made_encodable():
    assert encodable("caf\udce9 車\x1b") == "caf\\udce9 車\x1b"


def test_lines_of_a_table_stay_lines():
    assert printable_lines("a\tb\n\x1b[2Jc\r") == "a\tb\n\\x1b[2Jc\\x0d"


@pytest.mark.parametrize("text", ["letter.png: cannot be read", "photo 1.png", "Bäume.jpg"])
def test_ordinary_text_is_its_own_markdown(text: str):
    assert as_markdown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://elsewhere.example/a.png).png",
        "<img src=x>",
        "[a](b)",
        "**bold** _it_ `code`",
        "$x^2$",
        ":red[x]",
        "# head",
        "1. one",
        "- one",
        "a|b",
        "&lt;",
        "back\\slash",
    ],
)
def test_markdown_of_a_name_shows_the_name(text: str):
    markdown = as_markdown(text)
    for active in ("![", "](", "<", "**", "`", "$", ":red[", "1. ", "&lt;"):
        assert not re.search(rf"(?<!\\){re.escape(active)}", markdown)
    assert not markdown.startswith(("#", "-", "1."))
    assert re.sub(r"\\(.)", r"\1", markdown) == text


def test_markdown_has_no_lines():
    assert as_markdown("a\n\n# b") == "a\\\\x0a\\\\x0a\\# b"
