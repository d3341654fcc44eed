"""Nothing that is read is executed: the source has no call that would, but those named here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for part in ("projects", "tools", "configs") for path in (ROOT / part).rglob("*.py")]
MODULES = {  # which unpickle, or run what they read
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "pickle",
    "shelve",
}
RESTRICTED = {"checkpoint/pickled_arrays.py": "pickle"}  # finds numpy's array functions only
CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "os.popen": "runs a shell",
    "os.system": "runs a shell",
    "pandas.read_pickle": "unpickles",
    "torch.hub.load": "runs downloaded code",
    "torch.hub.load_state_dict_from_url": "compares eight digits of a hash at most, and unpickles",
    "torch.jit.load": "runs what it reads",
    "urllib.request.urlopen": "downloads unchecked",
    "urllib.request.urlretrieve": "downloads unchecked",
    "yaml.full_load": "makes Python objects",
    "yaml.load": "makes Python objects",
    "yaml.unsafe_load": "makes Python objects",
}
ENDINGS = {"from_pretrained": "downloads unchecked"}
OURS = {"predictor.Predictor.from_pretrained"}  # safetensors, and a YAML config by the allow-list
PLACES = {  # the only files that may call it
    "PIL.Image.open": {"data/image_io.py", "data/checks/image_files.py", "data/tree_crowns.py"},
    "torch.hub.download_url_to_file": {"checkpoint/verified_download.py"},
    "huggingface_hub.snapshot_download": {"hub/client.py"},
    "detectron2.config.LazyConfig.load": {"config.py", "integrations/detrex.py"},
}


def calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its full name, as "torch.load", whatever it was imported as."""
    tree = ast.parse(text)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                first = each.name.split(".")[0]
                names[each.asname or first] = each.name if each.asname else first
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                names[each.asname or each.name] = f"{node.module}.{each.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            first, _, rest = name.partition(".")
            yield f"{names.get(first, first)}.{rest}".rstrip("."), node


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{inner}.{node.attr}" if (inner := dotted(node.value)) else f"?.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name.split(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def keyword(call: ast.Call, name: str) -> object:
    for each in call.keywords:
        if each.arg == name:
            return each.value.value if isinstance(each.value, ast.Constant) else "computed"
    return None


def dangers(text: str, place: str = "a.py") -> list[str]:
    """What in a source text would execute or trust what it reads."""
    allowed = {name for file, name in RESTRICTED.items() if place.endswith(file)}
    violations = [f"imports {name}" for name in imported(text) if name in MODULES - allowed]
    for name, call in calls(text):
        if name in CALLS:
            violations.append(f"{name} {CALLS[name]}")
        if name.rsplit(".", 1)[-1] in ENDINGS and name not in OURS:
            violations.append(f"{name} {ENDINGS[name.rsplit('.', 1)[-1]]}")
        if name == "torch.load" and keyword(call, "weights_only") is not True:
            violations.append("torch.load without weights_only=True")
        if name == "numpy.load" and keyword(call, "allow_pickle") not in (None, False):
            violations.append("numpy.load with allow_pickle")
        if keyword(call, "shell") not in (None, False):
            violations.append(f"{name} with a shell")
        if name == "timm.create_model" and keyword(call, "pretrained") not in (None, False):
            if keyword(call, "pretrained_cfg_overlay") is None:
                violations.append("timm.create_model downloads unchecked")
        if name in PLACES and not any(place.endswith(each) for each in PLACES[name]):
            violations.append(f"{name} outside of {', '.join(sorted(PLACES[name]))}")
    return violations


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_executes_or_trusts_what_it_reads(path: Path):
    assert dangers(path.read_text(encoding="utf-8"), path.as_posix()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(f)",
        "import torch as t\nt.load(f, weights_only=False)",
        "from torch import load\nload(f, weights_only=flag)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import pickle",
        "from cloudpickle import loads",
        "import yaml\nyaml.load(f, yaml.Loader)",
        "from yaml import unsafe_load as read\nread(f)",
        "eval(text)",
        "import subprocess\nsubprocess.run(line, shell=True)",
        "import torch\ntorch.hub.load_state_dict_from_url(url, check_hash=True)",
        "import torch\ntorch.hub.download_url_to_file(url, path)",
        "from urllib.request import urlopen\nurlopen(url)",
        "import timm\ntimm.create_model(name, pretrained=True)",
        "from transformers import AutoModel\nAutoModel.from_pretrained(name)",
        "from PIL import Image\nImage.open(f)",
        "from detectron2.config import LazyConfig\nLazyConfig.load(f)",
    ],
)
def test_dangerous_calls_are_seen(text: str):
    assert len(dangers(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(f, weights_only=True)",
        "import numpy as np\nnp.load(f)",
        "import yaml\nyaml.safe_load(f)",
        "model.eval()",
        "import timm\ntimm.create_model(name)",
    ],
)
def test_harmless_calls_are_not(text: str):
    assert dangers(text) == []


def test_the_whole_project_is_looked_at():
    assert len(FILES) > 100
    assert any(path.name == "checkpointing.py" for path in FILES)
