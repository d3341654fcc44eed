"""The steps of the Dockerfile, parsed and run; the installation itself is `make image-steps`."""

import pytest

from stageinteractor.packages import EXTRAS


@pytest.fixture
def tool(load_tool):
    return load_tool("image_steps")


def test_the_dockerfile_is_parsed(tool):
    steps = list(tool.instructions((tool.ROOT / "Dockerfile").read_text()))
    names = [name for name, _ in steps]
    assert names[0] == "FROM" and names[-2:] == ["ENTRYPOINT", "CMD"]
    assert ("USER", "1000:1000") in steps
    extras = dict(rest.split("=") for name, rest in steps if name == "ARG")["EXTRAS"].split(",")
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((tool.ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert "train" in extras and set(EXTRAS.values()) & set(extras)


def test_steps_are_run_in_the_folder(tool, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tool, "ROOT", tmp_path / "tree")
    (tmp_path / "tree/dist").mkdir(parents=True)
    (tmp_path / "tree/dist/a.whl").write_text("wheel")
    steps = tool.Steps(tmp_path)
    text = (
        'COPY dist/*.whl /tmp/in/\nARG X=3\nENV Y="a b"\nRUN cat /tmp/in/a.whl \\\n && echo $X $Y'
    )
    text += '\nUSER 1\nENTRYPOINT ["sh"]\nCMD ["-c", "echo 5"]'
    for name, rest in tool.instructions(text):
        steps.do(name, rest)
    output = capfd.readouterr().out
    assert "wheel3 a b\n" in output and output.endswith("5\n")
    with pytest.raises(SystemExit, match=r"no file dist/b\.whl"):
        steps.do("COPY", "dist/b.whl /tmp/in/")
    with pytest.raises(SystemExit, match="VOLUME"):
        steps.do("VOLUME", "/data")
