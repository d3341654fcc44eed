"""A YAML config builds what is listed, and nothing else unless it is trusted."""

from pathlib import Path

import pytest
from detectron2.config import LazyConfig
from integrations import detrex_host

from stageinteractor.config import load_config, save_config, targets
from stageinteractor.errors import ConfigError
from stageinteractor.predictor import Predictor

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "projects/stageinteractor/configs"
FOLDERS = {"models", "detrex"}  # of parts; of recipes with classes of detrex, which are not listed
FILES = [path for path in sorted(ZOO.rglob("*.py")) if path.parent.name not in FOLDERS]
LOCATE = "detectron2.utils.registry.locate"
RECORDS = "_target_: detectron2.data.get_detection_dataset_dicts"
HF = "_target_: transformers."

ATTACKS = {
    "a call": "model: {_target_: os.system, command: id}",
    "an escaped key": 'model: {"\\x5ftarget_": os.system}',
    "a key by an alias": "a: &a _target_\nmodel: {*a : os.system}",
    "a merged node": "model: {<<: {_target_: os.system}}",
    "a tag": "model: !!python/name:os.system",
    "a tag as a target": "model: {_target_: !!python/name:os.system }",
    "eval": "model: {_target_: builtins.eval, source: '1'}",
    "torch.hub": "model: {_target_: torch.hub.load, repo_or_dir: a/b, model: c}",
    "torch.load": "model: {_target_: torch.load, f: a.pth}",
    "an import of a module": "model: {_target_: torch.nn.modules.module.torch.hub.load}",
    "an import of ours": "model: {_target_: stageinteractor.modeling.attention.torch.hub.load}",
    "a class of an import": "model: {_target_: stageinteractor.modeling.detector.torch.Tensor}",
    "a function of ours": "model: {_target_: stageinteractor.files.atomic_write_text, path: a}",
    "a config": "model: {_target_: stageinteractor.config.load_config, path: a.py}",
    "detectron2's configs": "model: {_target_: detectron2.config.LazyConfig.load, filename: a.py}",
    "a method": "model: {_target_: torch.nn.Module.load_state_dict}",
    "timm": "model: {_target_: timm.create_model, model_name: 'hf-hub:a/b'}",
    "mmdetection": "model: {_target_: detectron2.modeling.MMDetDetector, detector: {}}",
    "a hub": "model: {_target_: transformers.AutoModel.from_pretrained, a: b}",
    "detrex by its name": "model: {_target_: stageinteractor.integrations.detrex."
    "build_cross_stage, base: os.system}",
    "locate": f"model: {{norm: {{_target_: {LOCATE}, name: os.system}}}}",
    "locate of a reference": f"a: os.system\nmodel: {{_target_: {LOCATE}, name: '${{a}}'}}",
    "locate as a target": f"model: {{_target_: {{_target_: {LOCATE}, name: os.system}}}}",
    "a reference as a target": "a: os.system\nmodel: {_target_: '${a}'}",
    "a node as a target": "model: {_target_: {_target_: torch.nn.Identity}}",
    "in lists": "model: [[{a: [{_target_: os.system}]}]]",
    "in arguments": "model: {_target_: torch.nn.Identity, _args_: [{_target_: os.system}]}",
    "a node that is created": "model: '${oc.create:{_target_:os.system,command:id}}'",
    "a node that is decoded": "a: '{_target_: os.system}'\nmodel: '${oc.decode:${a}}'",
    "a name that is composed": "a: oc.create\nmodel: '${${a}:{_target_:os.system}}'",
    "a variable": "train: {output_dir: 'runs/${oc.env:SECRET_TOKEN}'}",
    "a pickle": f"dataloader: {{{RECORDS}, names: a, proposal_files: [a.pkl]}}",
    "a kernel of a hub": f"model: {{{HF}DeformableDetrConfig, attn_implementation: a/b}}",
    "a backbone of a hub": f"model: {{{HF}TimmBackboneConfig, backbone: 'hf-hub:a/b'}}",
    "a download": f"model: {{{HF}TimmBackboneConfig, use_pretrained_backbone: true}}",
    "a backbone without a class": f"model: {{{HF}DeformableDetrConfig, backbone_config: {{}}}}",
    "a private class": "model: {_target_: stageinteractor.modeling.mixing.chunked._Output}",
    "no text": "model: {_target_: 7}",
    "nothing": "model: {_target_: }",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_not_listed_is_refused(tmp_path: Path, name: str):
    file = tmp_path / "config.yaml"
    file.write_text(f"{ATTACKS[name]}\n")
    with pytest.raises(ConfigError, match=r"(model|train|dataloader).*--trust-config") as caught:
        load_config(file)
    assert "\n" not in str(caught.value)
    assert any(use.fault for use in targets(file))
    load_config(file, trust=True)


def test_a_target_is_named_with_its_key(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("model: {parts: [1, {_target_: os.system}]}\n")
    with pytest.raises(ConfigError, match=r"model\.parts\.1.*os\.system"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "name",
    [
        *("torch.nn.Linear", "torch.nn.modules.activation.ReLU", "torch.optim.SGD"),
        *("detectron2.layers.Conv2d", "detectron2.modeling.FPN"),
        *("detectron2.data.transforms.RandomFlip", "detectron2.modeling.backbone.resnet.BasicStem"),
        *("stageinteractor.modeling.decoders.stageinteractor.StageInteractorDecoder",),
    ],
)
def test_classes_that_only_make_modules_are_listed(tmp_path: Path, name: str):
    (tmp_path / "config.yaml").write_text(f"model: {{_target_: {name}}}\n")
    assert load_config(tmp_path / "config.yaml").model._target_ == name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_of_the_zoo_needs_no_trust_once_it_is_saved(tmp_path: Path, path: Path):
    save_config(load_config(path), tmp_path / "saved.yaml")
    load_config(tmp_path / "saved.yaml")


@pytest.mark.detrex
def test_a_saved_recipe_with_classes_of_detrex_has_to_be_trusted(tmp_path: Path):
    detrex_host.arrange()
    save_config(load_config(ZOO / "detrex/deformable_detr_r50_12ep.py"), tmp_path / "saved.yaml")
    assert any(
        "deformable_detr" in use.target for use in targets(tmp_path / "saved.yaml") if use.fault
    )
    with pytest.raises(ConfigError, match="--trust-config"):
        load_config(tmp_path / "saved.yaml")
    load_config(tmp_path / "saved.yaml", trust=True)


@pytest.mark.parametrize("name", ["stageinteractor_r50_1x.py", "demo/tree_crowns.py"])
def test_a_dump_of_detectron2_needs_no_trust(tmp_path: Path, name: str):
    LazyConfig.save(load_config(ZOO / name), str(tmp_path / "dump.yaml"))
    load_config(tmp_path / "dump.yaml")


def test_a_predictor_can_trust_a_package(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("model: {_target_: os.getcwd}\n")
    with pytest.raises(ConfigError, match="trust=True"):
        Predictor.from_config(tmp_path / "config.yaml")
    with pytest.raises(Exception, match="no checkpoint"):
        Predictor.from_config(tmp_path / "config.yaml", trust_config=True)


def test_the_tool_lists_every_target(tmp_path: Path, load_tool, capsys):
    file = tmp_path / "config.yaml"
    file.write_text('a: {"\\x5ftarget_": torch.hub.load}\nb: {_target_: torch.nn.Identity}\n')
    tool = load_tool("targets")
    assert tool.main([str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("not listed" in line and "torch.hub.load" in line for line in lines)
    assert any(line.startswith("listed") and "torch.nn.Identity" in line for line in lines)
    file.write_text(r'a: {_target_: "os.system\x1b[2J\nlisted"}')
    assert tool.main([str(file)]) == 1
    listed = capsys.readouterr().out
    assert "\x1b" not in listed and r"os.system\x1b[2J\x0alisted" in listed
    file.write_text("b: {_target_: torch.nn.Identity}\n")
    assert tool.main([str(file)]) == 0
    assert tool.main([str(tmp_path / "config.py")]) == 2
