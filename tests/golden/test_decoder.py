"""The decoder, what happens inside it, and its gradients against the published implementation."""

import pytest
import torch

from stageinteractor.assigner import CrossStageAssigner, HungarianMatcher
from stageinteractor.checkpoint import convert_mmdet_state_dict
from stageinteractor.checkpoint.mmdet import our_name
from stageinteractor.criterion import FocalLoss, SetCriterion
from stageinteractor.modeling.postprocessing import TopK

PRECISIONS = [(torch.float64, "f64", 1e-6), (torch.float32, "f32", 1e-3)]
WITHIN = [0, 1, 2, 5]  # stages whose intermediate values are recorded


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference relative to 1 + |x|."""
    return ((actual - expected).abs() / (1 + expected.abs())).max().item()


def decode(recording, dtype=torch.float64, decoder=None):
    queries = recording.queries(dtype)(recording.image_sizes(dtype))
    return (decoder or recording.decoder(dtype))(recording.features(dtype), queries)


def test_initial_queries(recording):
    queries = recording.queries()(recording.image_sizes())
    assert relative_error(queries.content, recording.read("out/init_content")) < 1e-6
    assert relative_error(queries.boxes, recording.read("out/init_xyzr")) < 1e-6


@pytest.mark.parametrize(("dtype", "name", "tolerance"), PRECISIONS, ids=["float64", "float32"])
def test_all_outputs_of_all_stages(recording, dtype, name, tolerance):
    output = decode(recording, dtype)
    pairs = {
        "logits": output.logits,
        "xyzr": output.boxes_xyzr,
        "boxes": output.boxes,
        "content": output.content,
    }
    for kind, actual in pairs.items():
        expected = recording.stacked(f"out_{name}/{{}}/{kind}", dtype)
        assert relative_error(actual, expected) < tolerance, kind


def test_values_within_the_stages(recording):
    decoder, seen = recording.decoder(), {}
    for stage in WITHIN:
        parts = decoder.stages[stage]
        modules = {
            "sampled": parts.sampler,
            "attn_out": parts.attention_norm,
            "mixed": parts.mixing_norm,
        }
        for kind, module in modules.items():
            module.register_forward_hook(
                lambda _module, _inputs, output, key=(stage, kind): seen.update(
                    {key: output[0] if isinstance(output, tuple) else output}
                )
            )
    decode(recording, decoder=decoder)
    assert len(seen) == 3 * len(WITHIN)
    for (stage, kind), actual in seen.items():
        expected = recording.read(f"mid_f64/{stage}/{kind}")
        assert relative_error(actual, expected) < 1e-6, (stage, kind)


def test_matches_class_targets_and_box_targets(recording):
    output, targets = decode(recording), recording.targets()
    matches = HungarianMatcher()(output.logits, output.boxes, targets, recording.image_sizes())
    assert torch.equal(matches, recording.stacked("match/{}", torch.long))
    assert torch.equal(matches >= 0, recording.stacked("regmask/{}", torch.bool))
    classes = output.logits.shape[-1]
    class_targets = CrossStageAssigner()(output.boxes, matches, targets, classes)
    assert torch.equal(class_targets.long(), recording.stacked("target/{}", torch.long))
    boxes = recording.stacked("regbox/{}")
    for image, target in enumerate(targets):
        own = matches[:, image]
        assert torch.equal(target["boxes"][own[own >= 0]], boxes[:, image][own >= 0])


def losses_of(recording, output):
    criterion = SetCriterion(HungarianMatcher(), CrossStageAssigner(), FocalLoss())
    arguments = output.logits, output.boxes, recording.targets(), recording.image_sizes()
    return criterion(*arguments)


def test_every_loss_term(recording_with_objects):
    actual = losses_of(recording_with_objects, decode(recording_with_objects))
    for stage in range(6):
        for ours, theirs in (("class", "cls"), ("bbox", "bbox"), ("giou", "iou")):
            expected = recording_with_objects.read(f"loss_f64/{stage}/{theirs}").item()
            assert actual[f"loss_{ours}_{stage}"].item() == pytest.approx(expected, rel=1e-6)
    total = recording_with_objects.read("loss_f64/total").item()
    assert sum(actual.values()).item() == pytest.approx(total, rel=1e-6)


def test_losses_without_objects_are_finite_unlike_published(recording_without_objects):
    actual = losses_of(recording_without_objects, decode(recording_without_objects))
    for stage in range(6):
        theirs = recording_without_objects.read(f"loss_f64/{stage}/cls")
        assert theirs.isinf()
        assert 0 < actual[f"loss_class_{stage}"].item() < float("inf")
        assert actual[f"loss_bbox_{stage}"].item() == actual[f"loss_giou_{stage}"].item() == 0.0


def gradients(recording):
    """Gradients of the total loss by our names, of decoder and queries."""
    decoder, queries = recording.decoder(), recording.queries()
    output = decoder(recording.features(), queries(recording.image_sizes()))
    sum(losses_of(recording, output).values()).backward()
    actual = {f"decoder.{name}": p.grad for name, p in decoder.named_parameters()}
    return actual | {"queries.content.weight": queries.content.weight.grad}


def test_the_gradient_of_every_parameter(recording_with_objects):
    recording, actual = recording_with_objects, gradients(recording_with_objects)
    published = {key.removeprefix("gradnorm/") for key in recording.data if "gradnorm/" in key}
    dropped = set(convert_mmdet_state_dict(recording.parameters()).dropped)
    assert {our_name(name) for name in published - dropped} == set(actual)
    largest = max(gradient.norm().item() for gradient in actual.values())
    for name in published - dropped:
        expected = recording.read(f"gradnorm/{name}").item()
        # below 1e-10 of the largest there is only rounding (all boxes of stage 0 are the same)
        tolerance = {"rel": 1e-6, "abs": 1e-10 * largest}
        assert actual[our_name(name)].norm().item() == pytest.approx(expected, **tolerance), name
    for key in recording.data:
        if key.startswith("grad/"):
            name, expected = key.removeprefix("grad/"), recording.read(key)
            error = (actual[our_name(name)] - expected).abs().max()
            assert error <= 1e-6 * expected.abs().max() + 1e-10 * largest, name


def test_detections(recording):
    output = decode(recording)
    queries = output.logits.shape[2]
    actual = TopK(queries)(output.logits[-1], output.boxes[-1], recording.image_sizes())
    for image, instances in enumerate(actual):
        boxes, scores, classes = recording.read(f"infer/{image}").split([4, 1, 1], dim=1)
        assert relative_error(instances.pred_boxes.tensor, boxes) < 1e-5  # recorded in float32
        assert relative_error(instances.scores, scores.squeeze(1)) < 1e-6
        assert torch.equal(instances.pred_classes, classes.squeeze(1).long())
