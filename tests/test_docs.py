"""Tools, options, config keys and files that the documentation names exist."""

import contextlib
import functools
import io
import re
import sys
from pathlib import Path

import pytest
from detectron2.config import instantiate
from omegaconf import DictConfig

from stageinteractor.cli.main import COMMANDS, main
from stageinteractor.config import apply_overrides, get_config, load_config
from stageinteractor.errors import ConfigError
from stageinteractor.schema import check_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = ROOT / "projects/stageinteractor/configs"


def commands() -> list[tuple[str, str, str]]:
    """(page, command, arguments) of every command line of ours."""
    lines = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            for name, rest in re.findall(r"\bstageinteractor ([a-z][a-z0-9-]+)\b([^`|#]*)", line):
                if name in COMMANDS:
                    lines.append((page.name, name, rest))
    return lines


@pytest.fixture(scope="module")
def help_of():
    @functools.cache
    def ask(tool: str) -> str:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
            main([tool, "--help"])
        return shown.getvalue()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv)  # which a command replaces
        yield ask


def test_every_option_is_one_of_the_tools_own(help_of):
    checked = 0
    for page, tool, rest in commands():
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
            own = help_of(tool) + (help_of("train") if tool in ("submit", "ray-train") else "")
            assert option in own, f"{page}: {tool} has no {option}"
            checked += 1
    assert checked > 30


def test_config_of_your_own_loads(tmp_path):
    """Twelve of 24 epochs: full rate; 20: a tenth; 23: a hundredth."""
    text = (ROOT / "docs/custom_data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "mine.py"
    path.write_text(block, encoding="utf-8")
    cfg = load_config(path)
    assert set(cfg) == set(get_config("stageinteractor_r50_1x"))
    check_config(cfg)
    assert (cfg.dataset.val.json, cfg.train.epochs) == ("mine/val.json", 24)
    cfg.train.max_iter = 24_000
    rate = instantiate(cfg.lr_multiplier)
    assert [rate(epoch / 24) for epoch in (12, 20, 23)] == pytest.approx([1.0, 0.1, 0.01])


def test_commands_and_scripts_of_the_pages_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"(?:^|`)stageinteractor ([a-z][a-z0-9-]+)", text, re.MULTILINE):
            assert name in COMMANDS, f"{page.name}: stageinteractor {name}"
        for name in re.findall(r"(?<!tests/)\btools/(\w+\.py)", text):
            assert (ROOT / "tools" / name).is_file(), f"{page.name}: tools/{name}"


@pytest.mark.parametrize(
    "page",
    [
        *("tuning.md", "getting_started.md", "custom_data.md", "stable_matching.md", "asag.md"),
        "tutorial.md",
        "training_comforts.md",
    ],
)
def test_every_override_is_a_key_of_a_config(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    key = r"(?<![\w.])((?:train|model|dataloader|optimizer)\.[\w.]+=(?:\[[^\]]*\]|[^\s`,]+))"
    overrides = re.findall(key, text)
    assert overrides
    for override in overrides:
        names = ("stageinteractor_r50_1x", "demo/digits_in_photos")
        if page == "stable_matching.md":
            names = ("stageinteractor_r50_stable_1x", "demo/digits_in_photos_stable")
        elif page == "asag.md":
            names = ("asag_a_r50_1x", "demo/digits_in_photos_asag", "demo/digits_in_photos")
        assert any(accepts(name, override) for name in names), override


@functools.cache
def loaded(config: str) -> DictConfig:
    return load_config(CONFIGS / f"{config}.py")


def accepts(config: str, override: str) -> bool:
    try:
        apply_overrides(loaded(config).copy(), [override])
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_every_link_leads_to_a_file(page):
    path = next(each for each in PAGES if each.name == page)
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_every_file_that_is_named_exists():
    for page in PAGES:
        text = re.sub(r"https://\S+", "", page.read_text())  # other projects' files
        for name in re.findall(r"\b(?:tests|projects|docs|configs)/[\w./]+\.(?:py|md)", text):
            candidates = [ROOT / name, ROOT / "projects/stageinteractor" / name]
            assert any(path.exists() for path in candidates), f"{page.name}: {name}"
