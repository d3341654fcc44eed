"""Sampling points and attention of single queries: what is recorded, and the page."""

import re

import torch
from torch import nn

from stageinteractor.cli.visualize_assignment import parse_args, run
from stageinteractor.config import load_config
from stageinteractor.data.annotated import annotated_inputs
from stageinteractor.engine.build import build_trained_model
from stageinteractor.modeling.attention import IoFBiasedSelfAttention
from stageinteractor.visualization.query_tracks import best_queries, record_stages


def test_attention_weights_are_those_of_the_forward_pass():
    """With identity as value and output projection, weights @ value is what forward adds."""
    torch.manual_seed(0)
    attention = IoFBiasedSelfAttention(embed_dim=8, num_heads=1).double()
    with torch.no_grad():
        attention.in_proj.weight[16:] = torch.eye(8)
        attention.out_proj.weight.copy_(torch.eye(8))
    content = torch.randn(2, 5, 8, dtype=torch.float64)
    boxes = torch.rand(2, 5, 4, dtype=torch.float64) * 3 + torch.tensor([20.0, 20, 3, 0])
    mask = torch.rand(2, 5, 5) > 0.4
    weights = attention.weights(content, boxes, mask)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    assert not weights[~mask & mask.any(-1, keepdim=True)].any()
    inputs = []
    attention.in_proj.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    out = attention(content, boxes, mask)
    assert torch.allclose(out, inputs[0] + weights @ inputs[0])


def test_points_and_boxes_of_every_stage_are_recorded(tiny_run):
    cfg = load_config(tiny_run / "config.yaml")
    (item,) = annotated_inputs(cfg, "val", 1)
    model = build_trained_model(cfg).eval()
    with record_stages(model) as stages:
        model([item])
    assert len(stages) == 2
    for stage in stages:
        queries, points, levels = stage.weights.shape
        assert (queries, levels) == (8, 4) and stage.points.shape == (8, points, 2)
        assert torch.allclose(stage.weights.sum(-1), torch.ones(8, points))
        assert torch.allclose(stage.attention.sum(-1), torch.ones(8))
    assert not torch.equal(stages[0].boxes, stages[1].boxes)  # refined
    with record_stages(model) as later:
        pass
    model([item])
    assert not later  # the hooks are gone
    with record_stages(nn.Linear(1, 1)) as none:
        assert none == []


def test_best_queries_come_with_class_and_score():
    scores = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.4, 0.5]])
    assert best_queries(scores, ["a", "b"], 2) == [(1, "a 0.90"), (2, "b 0.50")]


def test_page_has_an_image_for_each_query_and_stage(tiny_run, tmp_path):
    arguments = ["--config-file", str(tiny_run / "config.yaml"), "--images", "0", "1"]
    run(parse_args([*arguments, "--output", str(tmp_path)]))
    pages = sorted(tmp_path.glob("*_queries.html"))
    assert len(pages) == 2
    page = pages[0].read_text()
    assert page.count("<svg ") == 8 * 2 and page.count("<h2>") == 8
    assert page.count("<circle") > 8 * 2 * 10 and page.count("stroke-dasharray") == 8 * 2 * 3
    assert re.search(r"stage 1, \d: [01]\.\d\d, .*itself: [01]\.\d\d", page)
    assert "http" not in page
