"""Memory fusion and the position-modulated cost in config nodes, without detrex."""

import pytest
import torch
from detectron2.config import LazyCall, instantiate
from integrations.test_config_node import config
from integrations.test_memory_fusion import Encoder, LinearEncoder
from omegaconf import DictConfig, OmegaConf
from torch import nn

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage
from stageinteractor.config import apply_overrides, load_config, save_config
from stageinteractor.errors import ConfigError
from stageinteractor.integrations.detrex import (
    set_class_weight,
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher
from stageinteractor.integrations.memory_fusion import DenseFusion, SimpleFusion, ULikeFusion


class WideEncoder(LinearEncoder):
    def __init__(self, embed_dim, num_layers):
        super().__init__(num_layers, embed_dim)


class HungarianMatcher(nn.Module):
    """Takes what detrex's takes."""

    def __init__(
        self, cost_class=1, cost_bbox=1, cost_giou=1, cost_class_type="x", alpha=0.25, gamma=2.0
    ):
        super().__init__()


class OtherMatcher(nn.Module):
    pass


def transformer(**arguments) -> DictConfig:
    encoder = LazyCall(WideEncoder)(embed_dim=4, num_layers="${..layers}")
    return OmegaConf.create({"encoder": encoder, "layers": 3}, flags={"allow_objects": True})


def matcher(**arguments) -> DictConfig:
    settings = dict(cost_class=2.0, cost_bbox=5.0, cost_giou=3.0, alpha=0.2, gamma=1.5)
    return LazyCall(HungarianMatcher)(**(settings | arguments))


@pytest.mark.parametrize(
    ("name", "kind"), [("dense", DenseFusion), ("simple", SimpleFusion), ("u-like", ULikeFusion)]
)
def test_the_encoder_is_the_hosts_with_the_fusion_that_was_named(name, kind):
    node = transformer()
    use_memory_fusion(node, name)
    encoder = instantiate(node.encoder)
    assert type(encoder) is WideEncoder
    assert type(encoder.memory_fusion) is kind
    assert encoder.memory_fusion.num_layers == 3
    assert encoder(torch.randn(1, 2, 4)).shape == (1, 2, 4)


def test_sizes_of_the_fusion_follow_those_of_the_encoder(tmp_path):
    node = transformer()
    use_memory_fusion(node)
    apply_overrides(node, ["layers=5", "encoder.embed_dim=6"])
    save_config(node, tmp_path / "config.yaml")
    for each in (node, load_config(tmp_path / "config.yaml", trust=True)):
        assert instantiate(each.encoder).memory_fusion.join.project.weight.shape == (6, 6 * 6)


def test_a_fusion_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="one of dense, simple, u-like, not 'sum'"):
        use_memory_fusion(transformer(), "sum")


def test_an_encoder_node_has_to_say_its_sizes():
    node = OmegaConf.create(
        {"encoder": LazyCall(Encoder)(num_layers=2)}, flags={"allow_objects": True}
    )
    with pytest.raises(ConfigError, match="transformer.encoder has no embed_dim"):
        use_memory_fusion(node)


def test_the_matcher_keeps_its_settings_and_gets_an_exponent(tmp_path):
    node = matcher(cost_class_type="focal_loss_cost")
    use_position_modulated_cost(node, exponent=0.75)
    save_config(node, tmp_path / "config.yaml")
    for each in (node, load_config(tmp_path / "config.yaml", trust=True)):
        actual = instantiate(each)
        assert type(actual) is PositionModulatedHostMatcher
        assert (actual.cost_class, actual.cost_bbox, actual.cost_giou) == (2.0, 5.0, 3.0)
        assert (actual.alpha, actual.gamma, actual.exponent, actual.rescale) == (
            0.2,
            1.5,
            0.75,
            False,
        )


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (LazyCall(OtherMatcher)(), "not .*OtherMatcher"),
        (matcher(cost_dice=1.0), "has no 'cost_dice', which .*HungarianMatcher has"),
        (matcher(cost_class_type="ce_cost"), "cost_class_type='focal_loss_cost', got 'ce_cost'"),
    ],
)
def test_matchers_that_it_cannot_stand_for_are_refused(node, message):
    before = OmegaConf.to_container(node)
    with pytest.raises(ConfigError, match=message):
        use_position_modulated_cost(node)
    assert OmegaConf.to_container(node) == before


LOSSES = get_config("common/class_loss.py")


def test_assigner_and_class_loss_are_nodes_of_the_criterion(tmp_path):
    cfg = config()
    assigner = LazyCall(OneToOneAtLastStage)(
        assigner=LazyCall(CrossStageAssigner)(iou_threshold=0.6)
    )
    loss = LOSSES.cross_stage_position_supervised
    use_cross_stage(cfg.model.criterion, normalizer="host", assigner=assigner, class_loss=loss)
    apply_overrides(cfg, ["model.criterion.class_loss.target.decay.taus=[0.5]"])
    save_config(cfg, tmp_path / "config.yaml")
    for each in (cfg, load_config(tmp_path / "config.yaml", trust=True)):
        actual = instantiate(each.model).criterion
        assert type(actual.assigner) is OneToOneAtLastStage
        assert actual.assigner.assigner.iou_threshold == 0.6
        assert actual.own_class_loss.loss.target.decay.taus == [0.5]
        assert (actual.normalizer, actual.num_stages) == ("host", 4)
    assert LOSSES.cross_stage_position_supervised.target.decay.taus == [0.33, 0.33]


def test_the_class_weight_is_that_of_layers_and_proposals():
    node = OmegaConf.create(
        {"weight_dict": {"loss_class": 1, "loss_class_3": 1, "loss_class_enc": 1, "loss_bbox": 5}}
    )
    node.weight_dict |= {"loss_class_dn": 1, "loss_class_dn_3": 1, "loss_class_dn_enc": 1}
    set_class_weight(node, 6.0)
    assert node.weight_dict == {
        **{"loss_class": 6.0, "loss_class_3": 6.0, "loss_class_enc": 6.0, "loss_bbox": 5},
        **{"loss_class_dn": 1, "loss_class_dn_3": 1, "loss_class_dn_enc": 1},
    }


@pytest.mark.parametrize("weights", [{}, None, {"loss_vfl": 4.0, "loss_class_dn": 1.0}])
def test_a_class_weight_that_changes_nothing_is_refused(weights):
    node = LazyCall(OtherMatcher)(weight_dict=weights, class_weight=4.0)
    with pytest.raises(ConfigError, match="OtherMatcher has no loss_class.*class_weight"):
        set_class_weight(node, 6.0)


def test_a_matcher_that_its_criterion_does_not_call_is_refused():
    node = LazyCall(OtherMatcher)(matcher=matcher(), assign_second_stage=True)
    with pytest.raises(ConfigError, match="assign_second_stage=True"):
        use_position_modulated_cost(node.matcher)
    node.assign_second_stage = False
    use_position_modulated_cost(node.matcher)


@pytest.mark.parametrize(
    "node",
    [None, LazyCall(OtherMatcher)(num_encoder_layers=6), OmegaConf.create({"_target_": None})],
)
def test_fusion_needs_the_node_of_an_encoder(node):
    with pytest.raises(ConfigError, match="a node 'encoder'"):
        use_memory_fusion(node)


@pytest.mark.parametrize("helper", [use_cross_stage, use_position_modulated_cost])
@pytest.mark.parametrize(
    "node", [None, *map(OmegaConf.create, ({"matcher": None}, {"_target_": None}))]
)
def test_what_builds_nothing_is_refused(helper, node):
    with pytest.raises(ConfigError, match="config node of an object"):
        helper(node)


def test_the_node_of_a_model_is_refused():
    model = OmegaConf.create({"_target_": "some.DINO", "criterion": {"_target_": "some.Loss"}})
    with pytest.raises(ConfigError, match=r"some\.DINO is the node of a model"):
        use_cross_stage(model)


def test_null_switches_the_fusion_off():
    node = transformer()
    use_memory_fusion(node)
    apply_overrides(node, ["encoder.fusion=null"])
    assert not hasattr(instantiate(node.encoder), "memory_fusion")


def test_null_for_the_assigners_settings_is_refused():
    cfg = config()
    use_cross_stage(cfg.model.criterion)
    apply_overrides(cfg, ["model.criterion.cross_stage=null"])
    with pytest.raises(ConfigError, match="leave out use_cross_stage"):
        instantiate(cfg.model)


def test_asking_again_chooses_another_fusion():
    node = transformer()
    use_memory_fusion(node, "dense")
    use_memory_fusion(node, "simple")
    encoder = instantiate(node.encoder)
    assert type(encoder) is WideEncoder
    assert type(encoder.memory_fusion) is SimpleFusion
