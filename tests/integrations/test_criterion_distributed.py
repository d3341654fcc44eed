"""Two processes share the normaliser."""

import pytest
from two_processes import run_in_two_processes

SCRIPT = """
import pytest, torch, torch.distributed as dist
from integrations import reference
from integrations.checks import assigned, pairs_of, expected_class_losses
from integrations.toy_hosts import FocalHost, random_case
from stageinteractor.assigner import CrossStageAssigner
from stageinteractor.integrations import CrossStageCriterion

dist.init_process_group("gloo")
rank, host, mixed = dist.get_rank(), FocalHost(), 0
for seed, counts in enumerate([(5, 3), (6, 0), (2, 8), (0, 0)]):
    outputs, targets = random_case(seed, counts=counts)
    rule = reference.Rule(0.7)

    def part(stage, image):
        return {key: stage[key][image : image + 1] for key in ("pred_logits", "pred_boxes")}

    def of_image(image):
        before = [part(stage, image) for stage in outputs["aux_outputs"]]
        return part(outputs, image) | {"aux_outputs": before}, targets[image : image + 1]

    losses = CrossStageCriterion(host, CrossStageAssigner(*rule))(*of_image(rank))
    # the number of objects is the average of both processes; so is the larger one of matches and
    # labels, of every process by itself
    matches = [[len(x[0]) for x in pairs_of(host, *of_image(image))] for image in (0, 1)]
    labels = [[len(x[0]) for x in assigned(host, *of_image(image), rule)] for image in (0, 1)]
    number = max(sum(counts) / 2, 1.0)
    expected = expected_class_losses(host, *of_image(rank), rule, number=number)
    for stage, name in enumerate(expected):
        pairs = [(matches[image][stage], labels[image][stage]) for image in (0, 1)]
        factor = sum(max(pair) for pair in pairs) / max(sum(pair[0] for pair in pairs), 1)
        mixed += min(y - x for x, y in pairs) < 0 < max(y - x for x, y in pairs)
        value = expected[name].item() / max(factor, 1.0)
        assert losses[name].item() == pytest.approx(value, rel=1e-6), (seed, name)
dist.destroy_process_group()
assert mixed, "no stage has more labels in one process and fewer in the other"
"""


@pytest.mark.slow
def test_two_processes_share_their_number_of_labels(tmp_path):
    run_in_two_processes(SCRIPT, tmp_path)
