"""Every further recipe for detrex's models: one training step, read by either trainer."""

import pytest
import torch
from detectron2.config import LazyConfig
from detectron2.layers import ShapeSpec
from integrations import detrex_host
from integrations.detrex_cases import two_images
from integrations.test_detrex_configs import ALL, FOLDER
from omegaconf import OmegaConf

from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage, PerStageAssigner
from stageinteractor.config import apply_overrides, instantiate, load_config
from stageinteractor.errors import ConfigError
from stageinteractor.integrations.detrex_recipes import load_recipe

pytestmark = pytest.mark.detrex
SMALL = [
    "model.transformer.encoder.num_layers=1",
    "model.transformer.decoder.num_layers=2",
    "model.select_box_nums_for_evaluation=20",
]
QUERIES = ["model.num_queries=20"]
HYBRID = [
    "model.num_queries_one2one=20",
    "model.num_queries_one2many=30",
    "model.transformer.two_stage_num_proposals=50",
]
SWIN = [*QUERIES, "model.backbone.depths=[1,1,1,1]", "model.backbone.embed_dim=24"]
CHANNELS = {f"p{level}": 24 * 2**level for level in range(4)}
RECIPES = {
    "conditional_detr_r50_50ep": QUERIES,
    "dab_deformable_detr_r50_two_stage_12ep": QUERIES,
    "dab_detr_r50_50ep": QUERIES,
    "dino_r50_4scale_24ep": QUERIES,
    "dino_r50_4scale_36ep": QUERIES,
    "dino_r50_5scale_12ep": QUERIES,
    "dino_swin_large_384_4scale_12ep": SWIN,
    "dino_swin_large_384_5scale_12ep": SWIN,
    "dn_deformable_detr_r50_12ep": QUERIES,
    "dn_detr_r50_50ep": QUERIES,
    "h_deformable_detr_r50_two_stage_12ep": HYBRID,
    "stable_cross_stage_dab_deformable_detr_r50_two_stage_12ep": QUERIES,
    "stable_cross_stage_deformable_detr_r50_two_stage_12ep": QUERIES,
    "stable_cross_stage_h_deformable_detr_r50_two_stage_12ep": HYBRID,
    "stable_dab_deformable_detr_r50_two_stage_12ep": QUERIES,
    "stable_dino_r50_5scale_12ep": QUERIES,
    "stable_dino_swin_large_384_4scale_12ep": SWIN,
    "stable_dino_swin_large_384_4scale_24ep": SWIN,
    "stable_h_deformable_detr_r50_two_stage_12ep": HYBRID,
}


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    detrex_host.arrange()
    detrex_host.stay_on_cpu(monkeypatch)
    torch.manual_seed(0)


def small(cfg, name):
    """Make the model tiny, in place."""
    apply_overrides(cfg, [*SMALL, *RECIPES[name]])
    if RECIPES[name] is SWIN:
        shapes = cfg.model.neck.input_shapes
        shapes.update({key: ShapeSpec(channels=CHANNELS[key]) for key in shapes})
    return cfg


def test_every_recipe_is_tested():
    stems = sorted(path.stem for path in FOLDER.glob("*ep.py"))
    expected = sorted([*ALL, *RECIPES])
    assert [stem for stem in stems if "maskdino" not in stem] == expected  # it: `test_maskdino`


@pytest.mark.parametrize("name", RECIPES)
def test_one_training_step(name):
    ours = load_config(FOLDER / f"{name}.py")  # completed for our trainer
    theirs = LazyConfig.load(str(FOLDER / f"{name}.py"))  # as detrex's trainer reads it
    apply_overrides(ours, ["train.device=cpu"])
    theirs.train.device = "cpu"
    assert ours.train.output_dir == theirs.train.output_dir == f"output/detrex/{name}"
    epochs = int(name.rpartition("_")[2].removesuffix("ep"))
    assert ours.train.max_iter == theirs.train.max_iter == 7500 * epochs
    for cfg in (ours, theirs):
        assert cfg.dataloader.evaluator.get("nms_threshold") == (
            0.8 if name.startswith("stable") else None
        )
        drop = {12: 11, 24: 20, 36: 30, 50: 40}[epochs]
        schedule = instantiate(cfg.lr_multiplier, "lr_multiplier")
        shares = (drop - 0.1) / epochs, (drop + 0.1) / epochs
        assert [schedule(share) for share in shares] == pytest.approx([1.0, 0.1])
    models = [OmegaConf.to_container(cfg, resolve=True)["model"] for cfg in (ours, theirs)]
    assert models[0] == models[1]
    theirs.model.num_classes = 3
    assert theirs.model.criterion.num_classes == 3
    model = instantiate(small(ours, name).model, "model").train()
    assigner = PerStageAssigner if name.startswith("stable") else CrossStageAssigner
    assigner = OneToOneAtLastStage if "cross_stage" in name else assigner
    assert type(model.criterion.assigner) is assigner
    theirs.optimizer.params.model = model
    optimizer = instantiate(theirs.optimizer, "optimizer")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses = model(two_images(96, 128))
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    optimizer.step()
    after = model.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before if "class_embed" in key)


def test_a_recipe_whose_model_has_no_number_of_classes_is_loaded():
    recipe = load_recipe("anchor_detr/configs/anchor_detr_r50_50ep.py", "mine")
    assert recipe.model.criterion.num_classes == 80


@pytest.mark.parametrize("path", ["dn_detr/configs/dn_detr_r50_50ep.py"])
def test_learning_rates_are_detrexs(path):
    from stageinteractor.integrations.detrex import load_project_config

    theirs = load_project_config(path).optimizer.params.lr_factor_func
    ours = load_recipe(path, "mine").optimizer.params.lr_factor_func
    for module in ("backbone.stem", "neck.convs", "transformer.encoder.layers.0"):
        assert ours(module) == theirs(module)


def test_a_length_without_schedule_is_refused():
    with pytest.raises(ConfigError, match="13.*12, 24, 36, 50"):
        load_recipe("dino/configs/dino-resnet/dino_r50_4scale_12ep.py", "mine", epochs=13)
