"""tools/compare_detectron2.py on a repository of three files, as a work tree and bare."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    for name in ("install_detectron2", "compare_detectron2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import compare_detectron2

    yield compare_detectron2
    for name in ("install_detectron2", "compare_detectron2"):
        sys.modules.pop(name, None)


@pytest.fixture
def checkout(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "upstream"
    files = {
        "detectron2/__init__.py": '__version__ = "0.6"\n',
        "detectron2/same.py": "x = 1\n",
        "projects/DeepLab/deeplab/loss.py": "y = 2\n",
        "README.md": "not compared\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True)
    monkeypatch.setattr(tool, "COMMIT", head.stdout.decode().strip())
    monkeypatch.setattr(tool, "verify", lambda wheel: None)
    expected = {"detectron2/__init__.py": tool.KNOWN["detectron2/__init__.py"]}
    monkeypatch.setattr(tool, "KNOWN", expected)
    return root


def make_wheel(folder: Path, changes: dict[str, str]) -> Path:
    files = {
        "detectron2/__init__.py": '__version__ = "0.7.2"\n',
        "detectron2/same.py": "x = 1\n",
        "detectron2/projects/deeplab/loss.py": "y = 2\n",
        "tools/stray.py": "not compared\n",
    }
    wheel = folder / "w.whl"
    with zipfile.ZipFile(wheel, "w") as target:
        for name, text in {**files, **changes}.items():
            target.writestr(name, text)
    return wheel


def run(tool, checkout: Path, wheel: Path) -> int:
    return tool.main([str(checkout), "--wheel", str(wheel)])


def test_known_difference_in_work_tree_and_bare_repository(tool, checkout, tmp_path, capsys):
    wheel = make_wheel(tmp_path, {})
    (checkout / "detectron2" / "same.py").write_text("the work tree does not matter\n")
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(checkout), str(bare)], check=True)
    for place in (checkout, bare):
        assert run(tool, place, wheel) == 0
        out = capsys.readouterr().out
        assert '+__version__ = "0.7.2"' in out
        assert out.endswith("3 Python files compared, 1 differ, 0 unexpectedly\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("detectron2/same.py", "x = 3\n"),
        ("detectron2/added.py", "import os\n"),
        ("detectron2/__init__.py", '__version__ = "0.7.3"\n'),
        ("detectron2/__init__.py", '__version__ = "0.6"\n'),
    ],
)
def test_any_other_difference_is_reported(tool, checkout, tmp_path, capsys, name, text):
    assert run(tool, checkout, make_wheel(tmp_path, {name: text})) == 1
    out = capsys.readouterr().out
    assert f"{name}: NOT" in out and "1 unexpectedly" in out


def test_missing_commit_is_an_error_of_one_line(tool, checkout, tmp_path, capsys):
    wheel = make_wheel(tmp_path, {})
    assert run(tool, tmp_path / "nowhere", wheel) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "nowhere" in err
