"""What a built wheel of the project holds, and that it works away from the checkout."""

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stageinteractor.zoo import list_configs

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "projects" / "stageinteractor"


def python_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that the checkout gets no build folder."""
    copy = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("projects", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *command], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_wheel_holds_the_whole_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as built:
        names = set(built.namelist())
    package = {f"stageinteractor/{name}" for name in python_files(PACKAGE)}
    common = {
        f"stageinteractor/_configs/common/{name}" for name in python_files(ROOT / "configs/common")
    }
    assert any("/configs/demo/" in name for name in package)
    assert common, "configs/common has no Python file"
    packaged = {name for name in names if ".dist-info/" not in name}
    page = "stageinteractor/visualization/assignment/page.html"
    assert packaged == package | common | {"stageinteractor/py.typed", page}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a command of the wheel away from the checkout, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a new user") / "my project"
    folder.mkdir()
    with zipfile.ZipFile(wheel) as built:
        built.extractall(folder.parent / "site packages")
    env = os.environ | {"PYTHONPATH": str(folder.parent / "site packages"), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_wheel_trains_predicts_and_exports(installed: Callable[..., str]):
    call = functools.partial(installed, "-m", "stageinteractor")
    small = ("num_stages=1", "embed_dim=64", "feedforward_dim=64")
    options = ["train.fast_dev_run.enabled=true", "train.output_dir=a run"]
    call("train", "digits_in_photos", *options, *(f"model.decoder.{each}" for each in small))
    run = ("--config-file", "a run/config.yaml")
    photos = "datasets/digits_in_photos/val/00000*.png"
    assert "10 images" in call("predict", *run, photos, "--format", "json", "--min-score", "0")
    sizes = ("--size", "64", "64", "--size", "64", "96")
    assert "model.onnx" in call("export", "a run/config.yaml", *sizes)


def test_configs_of_the_wheel_load(installed: Callable[..., str]):
    program = (
        "import stageinteractor as s\n"
        "print(s.__file__, s.get_config('common/train.py').train.max_iter)\n"
        "for name in ('digits_in_photos', 'stageinteractor_swin_s_300_crop_3x', 'asag_a_r50_1x'):\n"
        "    s.get_config(name)\n"
        "print(*s.list_configs())"
    )
    where, names = installed("-c", program).splitlines()
    assert "site packages" in where and int(where.split()[-1]) > 0
    assert names.split() == list_configs()


def test_the_assigner_needs_three_packages():
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    core = {r.name for r in map(Requirement, requires("stageinteractor")) if r.marker is None}
    assert core == {"numpy", "scipy", "torch"}


def test_a_command_without_its_packages_says_what_to_install():
    program = (
        "import sys; from stageinteractor.cli.main import main\n"
        "for package in ('omegaconf', 'detectron2'):\n"
        "    sys.modules[package] = None\n"
        "    assert main(['report', 'run']) == 2\n"
        "    del sys.modules[package]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.splitlines()
    assert "pip install " in first and "'omegaconf>=" in first
    assert "install-detectron2" in second


def test_constraints_pin_every_requirement_exactly():
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = version
    for text in requires("stageinteractor"):
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), text
