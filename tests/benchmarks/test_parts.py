"""Which calls belong to which part, on small decoders; each made again gives the same."""

import pytest
import torch

from benchmarks.parts import inference_calls, select_parts, training_calls
from stageinteractor.config import apply_overrides, load_config
from stageinteractor.modeling import AdaMixerDecoder
from stageinteractor.synthetic import move_parameters, synthetic_batch, untrained_model

STAGES = 4
SMALL = [
    f"model.decoder.num_stages={STAGES}",
    "model.decoder.embed_dim=32",
    "model.decoder.feedforward_dim=32",
    "model.queries.num_queries=6",
    "model.backbone.name=test_efficientnet",
    "model.neck.in_channels=[24,32,48,64]",
]
PER_STAGE = {"attention": 1, "sampling": 1, "filter generation": 2, "output projection": 1}
PER_STAGE |= {"FFN": 1, "heads": 2}


@pytest.fixture(scope="module")
def model():
    from pathlib import Path

    root = Path(__file__).parents[2] / "projects/stageinteractor/configs"
    cfg = load_config(root / "demo/digits_in_photos.py")
    apply_overrides(cfg, SMALL)
    torch.manual_seed(0)
    model = untrained_model(cfg)
    move_parameters(model.decoder)
    return model


@pytest.fixture(scope="module")
def batch():
    return synthetic_batch(images=2, size=(64, 96), num_gt=3, num_classes=10)


@pytest.fixture(scope="module")
def passes(model, batch):
    inference = inference_calls(model, batch)
    return {"inference": inference, "training": training_calls(model, batch, inference)}


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_every_part_has_its_number_of_calls(passes, mode):
    actual = {(part.title, part.stage): len(part.calls) for part in select_parts(passes[mode])}
    expected = {(title, None): 1 for title in ("backbone", "neck", "queries", "decoder")}
    for stage in range(STAGES):
        expected |= {(title, stage): count for title, count in PER_STAGE.items()}
        reuses = stage >= 2
        expected["channel mixing", stage] = 1 + reuses
        expected["spatial mixing", stage] = 1
        if reuses:
            expected["static mixing", stage] = stage - 1
    once = ["postprocessing"] if mode == "inference" else ["matcher", "assigner", "losses"]
    once += [] if mode == "inference" else ["criterion"]
    assert actual == expected | {(title, None): 1 for title in once}


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_every_call_made_again_gives_what_it_gave(passes, model, mode):
    model.train(mode == "training")
    model.backbone.eval()  # its statistics are those of the recording
    checked = 0
    for part in select_parts(passes[mode]):
        if part.title in ("backbone", "neck", "postprocessing"):
            continue
        for call in part.calls:
            with torch.set_grad_enabled(mode == "training"):  # attention has a kernel for each
                again = tensors(call.function(*call.args))
            torch.testing.assert_close(again, tensors(call.output))
            checked += 1
    assert checked > 40


def tensors(tree):
    return [x.detach() for x in torch.utils._pytree.tree_leaves(tree) if hasattr(x, "detach")]


def test_adamixer_has_the_parts_that_it_has(model, batch):
    torch.manual_seed(0)
    sizes = dict(embed_dim=32, feedforward_dim=32, num_classes=10, points=4, out_points=8)
    decoder = AdaMixerDecoder(num_stages=2, **sizes)
    move_parameters(decoder)
    ours, model.decoder = model.decoder, decoder
    try:
        calls = inference_calls(model, batch)
    finally:
        model.decoder = ours
    parts = {(part.title, part.stage): part.calls for part in select_parts(calls)}
    assert not any(title == "static mixing" for title, _ in parts)
    (points,) = parts["spatial mixing", 1]
    (projection,) = parts["output projection", 1]
    assert torch.equal(points.output.reshape(projection.args[0].shape), projection.args[0])


@pytest.fixture(scope="module")
def passes_of_found_queries(batch):
    """Calls of a model with anchor queries and parallel stages."""
    from pathlib import Path

    root = Path(__file__).parents[2] / "projects/stageinteractor/configs"
    cfg = load_config(root / "demo/digits_in_photos_asag.py")
    small = [
        "model.decoder.stages.0.feedforward_dim=32",
        "model.queries.relation.feedforward_dim=32",
    ]
    apply_overrides(cfg, ["dataset.num_classes=10", "model.decoder.embed_dim=32", *small])
    apply_overrides(cfg, SMALL[-2:])
    model = untrained_model(cfg)
    inference = inference_calls(model, batch)
    return {"inference": inference, "training": training_calls(model, batch, inference)}


@pytest.mark.parametrize(("mode", "stages"), [("inference", 1), ("training", 4)])
def test_anchor_queries_and_parallel_stages_have_parts(passes_of_found_queries, mode, stages):
    parts = select_parts(passes_of_found_queries[mode])
    actual = {(part.title, part.stage): len(part.calls) for part in parts}
    whole = ["backbone", "neck", "queries", "anchor generator", "relation block", "decoder"]
    whole += ["postprocessing"] if mode == "inference" else ["anchor losses", "matcher"]
    whole += [] if mode == "inference" else ["losses", "criterion"]  # there is no assigner
    titles = [*PER_STAGE, "channel mixing", "spatial mixing"]
    counts = PER_STAGE | {"filter generation": 1, "channel mixing": 1, "spatial mixing": 1}
    expected = {(title, stage): counts[title] for title in titles for stage in range(stages)}
    assert actual == expected | {(title, None): 1 for title in whole}
