"""What a host's matcher would pass over in silence: predictions that are not numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from integrations.cases import HOSTS, case_of, hosts
from integrations.hf_models import MODELS
from integrations.toy_hosts import Matcher
from strategies import examples
from tally import count_fault

from stageinteractor.integrations import CrossStageCriterion
from stageinteractor.integrations.transformers import use_cross_stage

NOT_FINITE = r"stage {}, image {} of the batch are not finite"


class ForgivingMatcher(Matcher):
    """Puts numbers where there are none, as transformers' matchers do."""

    def forward(self, outputs, targets):
        known = {
            key: value.nan_to_num() if isinstance(value, torch.Tensor) else value
            for key, value in outputs.items()
        }
        return super().forward(known, targets)


def stages_of(outputs, host):
    return [*outputs[host.before], outputs]


@given(st.sampled_from(HOSTS), st.data(), st.sampled_from([float("nan"), float("inf")]))
@examples(0.5)
def test_predictions_that_are_no_numbers_end_the_step(host, data, value):
    outputs, targets, *more = case_of(host)
    stages = stages_of(outputs, host)
    stage = data.draw(st.integers(0, len(stages) - 1), "stage")
    image = data.draw(st.sampled_from([i for i, t in enumerate(targets) if len(t["boxes"])]))
    key = data.draw(st.sampled_from(["pred_boxes", host.logits]), "key")
    broken = stages[stage][key]
    place = tuple(data.draw(st.integers(0, size - 1)) for size in broken.shape[1:])
    broken[(image, *place)] = value if key == "pred_boxes" else float("nan")
    matcher = data.draw(st.sampled_from([Matcher, ForgivingMatcher]), "matcher")
    criterion = host()
    if isinstance(criterion.matcher, Matcher):
        criterion.matcher = matcher(host.logits, host.labels)
    with pytest.raises(FloatingPointError, match=NOT_FINITE.format(stage, image)):
        CrossStageCriterion(criterion)(outputs, targets, *more)
    count_fault("bad input")


@hosts
def test_images_without_objects_are_not_matched_and_not_refused(host):
    outputs, targets, *more = case_of(host)
    empty = [{name: value[:0] for name, value in target.items()} for target in targets]
    outputs["pred_boxes"][0] = float("nan")
    CrossStageCriterion(host())(outputs, empty, *more)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("broken", ["class", "box"])
def test_a_model_of_transformers_that_has_become_nan_is_stopped(name, broken):
    torch.manual_seed(0)
    model = MODELS[name]().train()
    use_cross_stage(model)
    part = {"class": "class_embed", "box": "bbox_embed"}[broken]
    for key, parameter in model.named_parameters():
        if part in key:
            torch.nn.init.constant_(parameter, float("nan"))
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.2]])}]
    with pytest.raises(FloatingPointError, match="are not finite"):
        model(torch.zeros(1, 3, 64, 64), labels=labels)
    count_fault("bad input")
