"""Our class loss and another matcher in the place of a host's, against the host and a reference."""

import pytest
import torch
from device_to_host import HostCopies, without_autocast
from integrations.cases import HOSTS, case_of
from integrations.checks import class_keys, names_of, pairs_of, stages_of
from integrations.reference import labels_of
from integrations.test_label_loss_probe import TwoHooksHost
from integrations.toy_hosts import (
    DenoisingHost,
    EncoderHost,
    FocalHost,
    Matcher,
    OtherNamesHost,
    SoftmaxHost,
    hybrid_losses,
    random_case,
    with_gradients,
)
from reference import stable_matching as slow

from stageinteractor import get_config
from stageinteractor.assigner import CrossStageAssigner, OneToOneAtLastStage, PerStageAssigner
from stageinteractor.assigner.boxes import cxcywh_to_xyxy
from stageinteractor.config import instantiate
from stageinteractor.criterion import (
    ClassLoss,
    DistanceWeight,
    FocalLoss,
    Power,
    RankDecay,
    RescalePerGt,
    RescalePerImage,
    ScoreWeight,
    SoftTarget,
)
from stageinteractor.errors import ConfigError, UnsupportedHostError
from stageinteractor.integrations import CrossStageCriterion
from stageinteractor.integrations.host_class_loss import HostClassLoss
from stageinteractor.integrations.host_matcher import PositionModulatedHostMatcher

FOCAL_HOSTS = [host for host in HOSTS if issubclass(host, FocalHost)]
focal_hosts = pytest.mark.parametrize("host", FOCAL_HOSTS)
PLAIN = dict(assigner=PerStageAssigner(), normalizer="host")


def class_loss(name):
    return instantiate(get_config("common/class_loss.py")[name], name)


def loss_of(target):
    return ClassLoss(target, DistanceWeight(0.25, 2.0), ScoreWeight(0.75, 2.0))


def assert_close(actual, expected, tolerance=2e-6):
    """The same names, in the same order, and the same values to rounding."""
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].item() == pytest.approx(value.item(), rel=tolerance), name


@focal_hosts
@pytest.mark.parametrize("seed", range(3))
def test_focal_loss_with_per_stage_labels_is_the_hosts(host, seed):
    arguments = case_of(host, seed)
    actual = CrossStageCriterion(host(), **PLAIN, class_loss=class_loss("focal"))(*arguments)
    assert_close(actual, host()(*arguments))


@focal_hosts
def test_focal_gradients_with_per_stage_labels_are_the_hosts(host):
    outputs, *others = case_of(host)
    gradients = []
    for criterion in (host(), CrossStageCriterion(host(), **PLAIN, class_loss=class_loss("focal"))):
        copied, logits = with_gradients(outputs, host)
        sum(criterion(copied, *others).values()).backward()
        gradients.append([x.grad for x in logits])
    for actual, expected in zip(*gradients, strict=True):
        assert torch.allclose(actual, expected, rtol=1e-5, atol=1e-8)


RULES = {
    "position_supervised": slow.Rule(per="image", to="one"),
    "linear": slow.Rule(exponent=1.0, per=None),
    "per_object": slow.Rule(),
    "composed": slow.Rule(last_one_to_one=True, taus=(0.5, 0.33)),
    "low_threshold": slow.Rule(threshold=0.1, taus=(None, 0.33)),
}


def parts_of(rule):
    """The assigner and the class loss that a rule of the reference describes."""
    assigner = CrossStageAssigner(rule.threshold, keep_own_match=rule.keep_own_match)
    scales = {"image": RescalePerImage, "object": RescalePerGt}
    target = SoftTarget(
        Power(rule.exponent),
        rescale=scales[rule.per](rule.to) if rule.per else None,
        decay=RankDecay(rule.taus) if rule.taus else None,
    )
    one_to_one = rule.last_one_to_one
    return OneToOneAtLastStage(assigner) if one_to_one else assigner, loss_of(target)


def slow_class_losses(rule, host, outputs, targets):
    """The reference's class losses under the host's names, divided by the number of objects."""
    stages = stages_of(outputs, host)
    logits = torch.stack([stage[names_of(host)[0]] for stage in stages]).double()
    boxes = torch.stack([cxcywh_to_xyxy(stage["pred_boxes"].double()) for stage in stages]) * 1024
    matches = torch.full(logits.shape[:3], -1)
    for stage, images in enumerate(pairs_of(host, outputs, targets)):
        for image, pairs in enumerate(images):
            for query, index in pairs:
                matches[stage, image, query] = index
    known = [
        {
            "boxes": cxcywh_to_xyxy(target["boxes"].double()) * 1024,
            "labels": torch.tensor(labels_of(target), dtype=torch.long),
        }
        for target in targets
    ]
    soft = slow.soft_targets(rule, boxes, matches, known, logits.shape[-1])
    number = max(sum(len(target["labels"]) for target in known), 1)
    sums = slow.class_loss(logits, soft) / number
    return dict(zip(class_keys(host, len(stages)), sums, strict=True))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("host", [FocalHost, OtherNamesHost, EncoderHost])
@pytest.mark.parametrize("seed", range(2))
def test_soft_targets_are_those_of_the_reference(rule, host, seed):
    outputs, targets = case_of(host, seed)
    assigner, loss = parts_of(rule)
    actual = CrossStageCriterion(host(), assigner, "host", class_loss=loss)(outputs, targets)
    expected = slow_class_losses(rule, host(), outputs, targets)
    assert any(name.endswith("_0") for name in expected)
    for name, value in expected.items():
        assert actual[name].item() == pytest.approx(value.item(), rel=2e-5), name


def by_hand(logits, iou):
    """Target IoU, one query, two classes, of which it learns the first."""
    probability = torch.tensor(logits).double().sigmoid()
    p, other = probability.tolist()
    entropy = -iou * torch.log(probability[0]) - (1 - iou) * torch.log(1 - probability[0])
    negative = -0.75 * other**2 * torch.log(1 - probability[1])
    return (0.25 * (iou - p) ** 2 * entropy + negative).item()


def test_dn_queries_and_proposals_keep_their_pairs():
    # box (.2 .2 .6 .6), object (.4 .2 .8 .6): shared .08, union .24, so IoU = 1/3
    box, known = torch.tensor([[[0.4, 0.4, 0.4, 0.4]]]), torch.tensor([[0.6, 0.4, 0.4, 0.4]])
    stages = [
        {"pred_logits": torch.tensor([[[x, -x]]]), "pred_boxes": box} for x in (0.5, 1.0, 1.5)
    ]
    targets = [{"boxes": known, "labels": torch.tensor([0])}]
    loss = loss_of(SoftTarget(Power(1.0), decay=RankDecay((0.1,))))
    denoising = CrossStageCriterion(DenoisingHost(2), **PLAIN, class_loss=loss)
    actual = denoising(stages[0] | {"aux_outputs": stages[1:2]}, targets, stages[2:])
    assert actual["loss_class_dn_0"].item() == pytest.approx(by_hand([1.5, -1.5], 1 / 3) / 2)
    assert actual["loss_class"].item() == pytest.approx(by_hand([0.5, -0.5], 1 / 3))
    encoder = CrossStageCriterion(EncoderHost(2), **PLAIN, class_loss=loss)
    targets[0]["labels"] = torch.tensor([1])
    actual = encoder(
        stages[0] | {"aux_outputs": stages[1:2], "enc_outputs": dict(stages[2])}, targets
    )
    assert actual["loss_class_enc"].item() == pytest.approx(by_hand([1.5, -1.5], 1 / 3))  # class 0
    assert actual["loss_class"].item() == pytest.approx(by_hand([-0.5, 0.5], 1 / 3))  # class 1


def test_class_loss_serves_one_to_many_calls():
    outputs, targets = random_case(0)
    many, _ = random_case(1, queries=15)
    outputs |= {f"{key}_one2many": value for key, value in many.items() if key != "aux_outputs"}
    outputs["aux_outputs_one2many"] = []
    expected = hybrid_losses(FocalHost(), outputs, targets)
    for name, close in (("focal", True), ("position_supervised", False)):
        criterion = CrossStageCriterion(FocalHost(), **PLAIN, class_loss=class_loss(name))
        actual = hybrid_losses(criterion, outputs, targets)["loss_class_one2many"].item()
        assert (actual == pytest.approx(expected["loss_class_one2many"].item(), rel=2e-6)) == close


class OtherMatcher(Matcher):
    """Matches each object to the query of its own number."""

    def forward(self, outputs, targets):
        self.calls += 1
        every = [torch.arange(len(target["labels"])) for target in targets]
        return [(objects.flip(0), objects) for objects in every]


class OtherMatcherHost(EncoderHost):
    def __init__(self, num_classes=4):
        super().__init__(num_classes, OtherMatcher())


def test_another_matcher_serves_stages_and_proposals():
    arguments = case_of(EncoderHost)
    host, matcher = EncoderHost(), OtherMatcher()
    actual = CrossStageCriterion(host, **PLAIN, matcher=matcher)(*arguments)
    assert (matcher.calls, host.matcher.calls) == (4 + 1, 0)
    expected = OtherMatcherHost()(*arguments)
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (SoftmaxHost, "SoftmaxHost: its logits are those of a softmax"),
        (TwoHooksHost, r"has several class losses \(loss_class, loss_more\)"),
    ],
)
def test_hosts_whose_class_loss_cannot_be_exchanged_are_refused(host, message):
    with pytest.raises(UnsupportedHostError, match=message):
        CrossStageCriterion(host(), class_loss=class_loss("focal"))


@pytest.mark.parametrize(
    "name", ["focal", "position_supervised", "cross_stage_position_supervised"]
)
def test_the_host_waits_for_no_loss(name, monkeypatch):
    without_autocast(monkeypatch)
    loss = HostClassLoss(class_loss(name), "loss_class")
    outputs, targets = random_case(0, counts=(3, 2))
    stages = [
        {key: stage[key].to("meta").requires_grad_() for key in ("pred_logits", "pred_boxes")}
        for stage in stages_of(outputs, FocalHost)
    ]
    targets = [{key: value.to("meta") for key, value in target.items()} for target in targets]
    index = torch.arange(2)
    ranked = torch.zeros(4, 2, 5, 3, dtype=torch.long)
    matches = torch.zeros(4, 2, 8, dtype=torch.long)
    with HostCopies() as copies:
        sums = loss.of_stages(stages, targets, matches, torch.arange(5).expand(2, 5), ranked)
        for pairs in ([(index, index)] * 2, [(index.to("meta"), index.to("meta"))] * 2):
            sums = sums + loss.of_pairs(stages[0], targets, pairs)
        sums.sum().backward()
    assert copies.waiting == copies.beside == 0
    assert all(stage["pred_logits"].grad is not None for stage in stages)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_losses_on_a_gpu_are_those_on_the_host():
    def moved(value):
        if isinstance(value, dict):
            return {key: moved(each) for key, each in value.items()}
        if isinstance(value, list):
            return [moved(each) for each in value]
        return value.cuda()

    outputs, targets = case_of(EncoderHost)
    loss = class_loss("cross_stage_position_supervised")
    arguments = dict(class_loss=loss, matcher=PositionModulatedHostMatcher())
    criterion = CrossStageCriterion(EncoderHost(), **arguments)
    actual, expected = criterion(moved(outputs), moved(targets)), criterion(outputs, targets)
    assert {key: value.item() for key, value in actual.items()} == pytest.approx(
        {key: value.item() for key, value in expected.items()}, rel=1e-4
    )


def test_a_loss_of_zeros_and_ones_is_refused():
    with pytest.raises(ConfigError, match="must be a ClassLoss, .*, got FocalLoss"):
        CrossStageCriterion(FocalHost(num_classes=3), class_loss=FocalLoss())
