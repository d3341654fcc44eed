"""The assigner on the losses of Hugging Face's detectors, and on the models themselves."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from integrations.hf_models import MODELS, deformable_detr, resnet, rt_resnet

from stageinteractor.assigner import CrossStageAssigner, WarmupCrossStageAssigner
from stageinteractor.errors import MissingDependencyError, UnsupportedHostError
from stageinteractor.integrations.transformers import (
    CrossStageLoss,
    require_transformers,
    use_cross_stage,
)

RECORDING = Path(__file__).parents[1] / "golden/data/synth_deformable.pt"
NEUTRAL = {"assigner": CrossStageAssigner(scope=(0, 0), keep_own_match=True), "normalizer": "host"}
STAGES = 6


@pytest.fixture(scope="module")
def recorded():
    """Six stages in which queries swap objects, with class targets known."""
    return torch.load(RECORDING, weights_only=True)


def stacked(recorded, key):
    """Return (S, B, N, ...), the last stage last."""
    outputs = recorded["outputs"]
    return torch.stack([*(each[key] for each in outputs["aux_outputs"]), outputs[key]])


def labels_of(recorded):
    return [{"class_labels": t["labels"], "boxes": t["boxes"]} for t in recorded["targets"]]


def call_deformable(recorded, function):
    config = transformers.DeformableDetrConfig(
        backbone_config=resnet(),
        num_labels=80,
        decoder_layers=STAGES,
        auxiliary_loss=True,
        class_cost=2,  # as recorded
    )
    logits, boxes = stacked(recorded, "pred_logits"), stacked(recorded, "pred_boxes")
    return function(logits[-1], labels_of(recorded), "cpu", boxes[-1], config, logits, boxes)


def call_rt_detr(recorded, function):
    config = transformers.RTDetrConfig(
        backbone_config=rt_resnet(), num_labels=80, decoder_layers=STAGES
    )
    return call_with_proposals(recorded, function, config)


def call_d_fine(recorded, function, config=None):
    config = config or transformers.DFineConfig(
        num_labels=80, decoder_layers=STAGES, max_num_bins=8
    )
    boxes = stacked(recorded, "pred_boxes")
    torch.manual_seed(0)
    corners = torch.randn(*boxes.shape[:3], 4 * 9)
    return call_with_proposals(
        recorded,
        function,
        config,
        predicted_corners=corners.transpose(0, 1),
        initial_reference_points=boxes.transpose(0, 1),
    )


def call_deim_v2(recorded, function):
    config = transformers.Deimv2Config(
        num_labels=80, decoder_layers=STAGES, max_num_bins=8, use_dense_one_to_one=False
    )
    return call_d_fine(recorded, function, config)


def call_with_proposals(recorded, function, config, **more):
    """RT-DETR and its kin: the image comes before the stage, and the encoder proposes boxes."""
    logits, boxes = stacked(recorded, "pred_logits"), stacked(recorded, "pred_boxes")
    return function(
        logits[-1],
        labels_of(recorded),
        "cpu",
        boxes[-1],
        config,
        logits.transpose(0, 1),
        boxes.transpose(0, 1),
        enc_topk_logits=logits[2].clone(),
        enc_topk_bboxes=boxes[2].clone(),
        **more,
    )


def call_detr(recorded, function):
    config = transformers.DetrConfig(
        backbone_config=resnet("stage4"), num_labels=80, decoder_layers=STAGES, auxiliary_loss=True
    )
    logits, boxes = stacked(recorded, "pred_logits"), stacked(recorded, "pred_boxes")
    logits = F.pad(logits, (0, 1), value=1.0)  # the column of "no object"
    return function(logits[-1], labels_of(recorded), "cpu", boxes[-1], config, logits, boxes)


def call_lw_detr(recorded, function):
    config = transformers.LwDetrConfig(
        num_labels=80, decoder_layers=STAGES, group_detr=1, auxiliary_loss=True
    )
    logits, boxes = stacked(recorded, "pred_logits"), stacked(recorded, "pred_boxes")
    return function(
        logits[-1],
        labels_of(recorded),
        "cpu",
        boxes[-1],
        config,
        logits,
        boxes,
        logits[2].clone(),
        boxes[2].clone(),
    )


HOSTS = {
    "DeformableDetrForObjectDetection": call_deformable,
    "RTDetrForObjectDetection": call_rt_detr,
    "DFineForObjectDetection": call_d_fine,
    "Deimv2ForObjectDetection": call_deim_v2,
    "ForObjectDetection": call_detr,
    "LwDetrForObjectDetection": call_lw_detr,
    "RfDetrForObjectDetection": call_lw_detr,
}
CLASS_LOSSES = {  # names of the class losses of the stages in order
    "DeformableDetrForObjectDetection": [*(f"loss_ce_{i}" for i in range(5)), "loss_ce"],
    "RTDetrForObjectDetection": [*(f"loss_vfl_aux_{i}" for i in range(5)), "loss_vfl"],
    "DFineForObjectDetection": [*(f"loss_vfl_aux_{i}" for i in range(5)), "loss_vfl"],
    "Deimv2ForObjectDetection": [*(f"loss_mal_aux_{i}" for i in range(5)), "loss_mal"],
    "ForObjectDetection": [*(f"loss_ce_{i}" for i in range(5)), "loss_ce"],
    "LwDetrForObjectDetection": [*(f"loss_ce_{i}" for i in range(5)), "loss_ce"],
    "RfDetrForObjectDetection": [*(f"loss_ce_{i}" for i in range(5)), "loss_ce"],
}


def loss_function(name):
    from transformers.loss.loss_utils import LOSS_MAPPING

    return LOSS_MAPPING[name]


@pytest.mark.parametrize("name", HOSTS)
def test_neutral_losses_are_the_hosts_bit_for_bit(recorded, name):
    function = loss_function(name)
    wrapped = CrossStageLoss(function, num_stages=STAGES, **NEUTRAL)
    loss, terms, _ = HOSTS[name](recorded, function)
    actual, actual_terms, _ = HOSTS[name](recorded, wrapped)
    assert list(actual_terms) == list(terms)
    assert all(torch.equal(actual_terms[key], terms[key]) for key in terms)
    assert torch.equal(actual, loss)


@pytest.mark.parametrize("name", HOSTS)
def test_only_class_losses_of_decoder_stages_change(recorded, name):
    function = loss_function(name)
    _, terms, _ = HOSTS[name](recorded, function)
    _, actual, _ = HOSTS[name](recorded, CrossStageLoss(function, num_stages=STAGES))
    changed = [key for key in terms if not torch.equal(actual[key], terms[key])]
    assert sorted(changed) == sorted(CLASS_LOSSES[name])


def dense_focal(logits, targets):
    probability = logits.sigmoid()
    error = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = torch.where(targets > 0, 0.25 * (1 - probability) ** 2, 0.75 * probability**2)
    return (weight * error).sum()


def dense_varifocal(logits, targets, scores):
    scores = scores * targets
    weight = torch.where(targets > 0, scores, 0.75 * logits.sigmoid() ** 2)
    return (F.binary_cross_entropy_with_logits(logits, scores, reduction="none") * weight).sum()


def dense_matchability_aware(logits, targets, scores):
    """DEIM's MAL with a gamma of 2, which transformers takes for DEIMv2."""
    weight = torch.where(targets > 0, 1.0, logits.sigmoid() ** 2)
    scores = (scores * targets) ** 2
    return (F.binary_cross_entropy_with_logits(logits, scores, reduction="none") * weight).sum()


def dense_iou_aware(logits, targets, scores):
    """The IA-BCE of LW-DETR and RF-DETR."""
    quality = (logits.sigmoid() ** 0.25 * scores**0.75).clamp(min=0.01)
    positive = -quality * F.logsigmoid(logits) - (1 - quality) * F.logsigmoid(-logits)
    negative = -(logits.sigmoid() ** 2) * F.logsigmoid(-logits)
    return torch.where(targets > 0, positive, negative).sum()


DENSE = {
    "DeformableDetrForObjectDetection": lambda logits, targets, _: dense_focal(logits, targets),
    "RTDetrForObjectDetection": dense_varifocal,
    "DFineForObjectDetection": dense_varifocal,
    "Deimv2ForObjectDetection": dense_matchability_aware,
    "LwDetrForObjectDetection": dense_iou_aware,
    "RfDetrForObjectDetection": dense_iou_aware,
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", DENSE)
def test_class_losses_equal_those_of_the_recorded_targets(recorded, name, keep):
    wrapped = CrossStageLoss(
        loss_function(name),
        num_stages=STAGES,
        assigner=CrossStageAssigner(keep_own_match=keep),
        normalizer="host",
    )
    _, actual, _ = HOSTS[name](recorded, wrapped)
    known = recorded["keep_own" if keep else "threshold_own"]
    logits = stacked(recorded, "pred_logits")
    num_boxes = sum(len(t["labels"]) for t in recorded["targets"])
    for stage, key in enumerate(CLASS_LOSSES[name]):
        targets = known["targets_multi_hot"][stage].float()
        expected = DENSE[name](logits[stage], targets, known["iou"][stage])
        torch.testing.assert_close(actual[key], expected / num_boxes, rtol=2e-6, atol=0)


def step(model):
    torch.manual_seed(1)
    images = torch.rand(2, 3, 64, 64)
    labels = [
        {"class_labels": torch.tensor([0, 2]), "boxes": torch.rand(2, 4) * 0.3 + 0.3},
        {"class_labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)},
    ]
    return model(pixel_values=images, labels=labels)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_of_a_model(name):
    torch.manual_seed(0)
    model = MODELS[name]().train()
    plain = step(model)
    plain.loss.backward()
    assigned = {key for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    use_cross_stage(model, **NEUTRAL)
    neutral = step(model)
    assert torch.equal(neutral.loss, plain.loss)
    model.loss_function = model.loss_function.function  # what follows has settings of its own
    del model._loss_function
    use_cross_stage(model, CrossStageAssigner(iou_threshold=0.1))
    step(model).loss.backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert set(gradients) == assigned
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_one_stage_is_logged(caplog):
    use_cross_stage(deformable_detr(auxiliary_loss=False))
    assert "set model.config.auxiliary_loss = True" in caplog.text


def test_the_assigner_is_given_once():
    model = deformable_detr()
    use_cross_stage(model)
    with pytest.raises(UnsupportedHostError, match="already"):
        use_cross_stage(model)


def test_a_loss_without_criterion_is_refused():
    from transformers.loss.loss_utils import LOSS_MAPPING

    with pytest.raises(UnsupportedHostError, match="ForCausalLMLoss"):
        CrossStageLoss(LOSS_MAPPING["ForCausalLM"])


def test_without_transformers_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match="pip install 'transformers>="):
        require_transformers()


def test_importing_needs_no_third_party_library():
    program = (
        "import sys\n"
        "for name in ('detectron2', 'transformers', 'detrex'): sys.modules[name] = None\n"
        "import stageinteractor, stageinteractor.integrations.transformers\n"
        "from stageinteractor.integrations import CrossStageCriterion\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_assigner_with_a_state_is_refused():
    model = deformable_detr()
    with pytest.raises(UnsupportedHostError, match="WarmupCrossStageAssigner has a state"):
        use_cross_stage(model, WarmupCrossStageAssigner())
