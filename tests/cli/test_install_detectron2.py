"""stageinteractor install-detectron2 on a tiny wheel of the same make; pip is a stand-in."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "install_detectron2.py"
ORIGINAL = {
    "detectron2/__init__.py": b'__version__ = "0.7.2"\n',
    "detectron2/_C.cpython-310-x86_64-linux-gnu.so": b"\x7fELF",
    "detectron2/model_zoo/configs/Base.yaml": b"MODEL: {}\n",
    "detectron2/naive,name.py": b"x = 1\n",
    "tools/__init__.py": b"",
    "tools/train_net.py": b"raise SystemExit\n",
    "sal_detectron2-0.7.2.dist-info/LICENSE": b"the licence\n",
    "sal_detectron2-0.7.2.dist-info/METADATA": b"Name: sal-detectron2\nRequires-Dist: numpy<2\n",
    "sal_detectron2-0.7.2.dist-info/RECORD": b"",
}


@pytest.fixture
def tool(load_tool) -> ModuleType:
    return load_tool("install_detectron2")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    wheel = tmp_path / "given" / "sal_detectron2-0.7.2-cp310-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as target:
        for name, data in ORIGINAL.items():
            target.writestr(name, data)
    return wheel


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary folders are made in: empty again when nothing is left behind."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class FakePip:
    """Stands in for subprocess.run: keeps the commands, can fail, can 'download' a wheel."""

    def __init__(self, wheel: Path | None = None, stderr: str = "") -> None:
        self.wheel = wheel
        self.stderr = stderr
        self.commands: list[list[str]] = []
        self.installed: list[str] = []

    def __call__(self, command, **_) -> subprocess.CompletedProcess:
        assert command[:3] == [sys.executable, "-m", "pip"]
        self.commands.append(command[3:])
        if self.stderr:
            return subprocess.CompletedProcess(command, 1, "", self.stderr)
        if command[3] == "download" and self.wheel is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / self.wheel.name).write_bytes(self.wheel.read_bytes())
        if command[3] == "install" and command[-1].endswith(".whl"):
            with zipfile.ZipFile(command[-1]) as wheel:
                self.installed = wheel.namelist()
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def missing(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "find_detectron2", lambda: None)


def use_pip(monkeypatch: pytest.MonkeyPatch, pip: FakePip) -> FakePip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("install_detectron2: ")
    return err


def test_repack_keeps_the_package_only(tool, original, tmp_path):
    wheel = tool.repack(original, tmp_path)
    assert wheel.name == "detectron2-0.7.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        assert set(packed.namelist()) == {
            "detectron2/__init__.py",
            "detectron2/model_zoo/configs/Base.yaml",
            "detectron2/naive,name.py",
            *(
                f"detectron2-0.7.2.dist-info/{name}"
                for name in ("LICENSE", "METADATA", "RECORD", "WHEEL", "top_level.txt")
            ),
        }
        metadata = packed.read("detectron2-0.7.2.dist-info/METADATA").decode()
        assert "\nName: detectron2\nVersion: 0.7.2\n" in metadata
        assert "Requires-Dist" not in metadata
        assert packed.read("detectron2-0.7.2.dist-info/LICENSE") == b"the licence\n"
        assert "Tag: py3-none-any" in packed.read("detectron2-0.7.2.dist-info/WHEEL").decode()


def test_pip_installs_the_repacked_wheel(tool, original, tmp_path):
    target = tmp_path / "site"
    wheel = tool.repack(original, tmp_path)
    options = ["--no-deps", "--no-index", "--target", str(target)]
    tool.run_pip(["install", *options, str(wheel)], "install", "")
    assert (target / "detectron2" / "__init__.py").read_bytes() == ORIGINAL[
        "detectron2/__init__.py"
    ]
    assert not (target / "tools").exists()


def test_repack_refuses_a_wheel_of_something_else(tool, tmp_path):
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as target:
        target.writestr("tools/__init__.py", b"")
    with pytest.raises(tool.InstallError, match="no package detectron2"):
        tool.repack(other, tmp_path)


@pytest.mark.usefixtures("missing")
def test_downloads_checks_and_installs(tool, original, scratch, monkeypatch, capsys):
    pip = use_pip(monkeypatch, FakePip(original))
    monkeypatch.setattr(tool.verify, "__defaults__", (sha256_of(original),))
    assert tool.main([]) == 0
    download, install = pip.commands
    assert download[0] == "download" and download[-1] == "sal-detectron2==0.7.2"
    assert {"--no-deps", "--only-binary=:all:", "3.10"} <= set(download)
    assert install[:2] == ["install", "--no-deps"]
    assert "detectron2/__init__.py" in pip.installed and "tools/__init__.py" not in pip.installed
    assert list(scratch.iterdir()) == []
    assert "installed" in capsys.readouterr().out


@pytest.mark.usefixtures("missing")
def test_wrong_hash_installs_nothing_and_leaves_nothing(
    tool, original, scratch, monkeypatch, capsys
):
    pip = use_pip(monkeypatch, FakePip(original))
    assert tool.main([]) == 1
    assert "sha256" in one_error_line(capsys)
    assert [command[0] for command in pip.commands] == ["download"]
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (f"{sys.executable}: No module named pip\n", "has no pip"),
        ("WARNING: Retrying\nERROR: No matching distribution found\nmore\n", "No matching"),
        ("fatal: unable to access\n  error: subprocess\nnote: not pip\n", "fatal: unable"),
        ("Killed\n", "Killed"),
    ],
)
def test_without_pip_or_network(tool, scratch, monkeypatch, capsys, stderr, said):
    use_pip(monkeypatch, FakePip(stderr=stderr))
    assert tool.main([]) == 1
    assert said in one_error_line(capsys)
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("missing", "scratch")
def test_own_copy_is_checked_and_not_downloaded(tool, original, monkeypatch, capsys):
    pip = use_pip(monkeypatch, FakePip())
    assert tool.main(["--wheel", str(original)]) == 1
    assert "sha256" in one_error_line(capsys)
    assert pip.commands == []
    assert tool.main(["--wheel", str(original.with_name("none.whl"))]) == 1
    assert "none.whl" in one_error_line(capsys)


@pytest.mark.usefixtures("missing")
def test_from_source_builds_the_pinned_commit(tool, monkeypatch):
    pip = use_pip(monkeypatch, FakePip())
    assert tool.main(["--from-source"]) == 0
    (command,) = pip.commands
    assert command[-1].endswith("/detectron2@a59f05630a8f205756064244bf5beb8661f96180")


def test_stops_where_detectron2_is_importable(tool, tmp_path, monkeypatch, capsys):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "detectron2", raising=False)
    pip = use_pip(monkeypatch, FakePip())
    assert tool.main([]) == 0
    assert "already importable" in capsys.readouterr().out
    assert pip.commands == []


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
