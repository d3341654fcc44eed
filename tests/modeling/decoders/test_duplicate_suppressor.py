"""Duplicate removal: who sees whom, padding, precision, heads."""

import onnxruntime
import pytest
import torch
from torch import Tensor

from stageinteractor.modeling import DuplicateSuppressor, NewLogits, ResidualLogits
from stageinteractor.modeling.decoders.query_order import more_confident, pair_features

D, C = 16, 3


def build(**options) -> DuplicateSuppressor:
    """A suppressor in float64 whose zero-initialised parts are random."""
    torch.manual_seed(1)
    model = DuplicateSuppressor(embed_dim=D, num_classes=C, feedforward_dim=32, **options).double()
    for layer in model.layers:
        for parameter in layer.attention.pair_bias.parameters():
            torch.nn.init.normal_(parameter)
    return model


def queries(count: int = 7, images: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    content = torch.randn(images, count, D, dtype=torch.float64)
    logits = torch.randn(images, count, C, dtype=torch.float64)
    corner = torch.rand(images, count, 2, dtype=torch.float64) * 20
    return content, logits, torch.cat([corner, corner + 5 + corner.flip(-1) / 4], dim=-1)


def ranking(logits: Tensor) -> list[int]:
    """Indices of the queries of image 0, most confident first."""
    return logits[0].amax(-1).argsort(descending=True).tolist()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_less_confident_queries_change_nothing(num_layers: int):
    model = build(num_layers=num_layers)
    content, logits, boxes = queries()
    expected = model(content, logits, boxes)
    order = ranking(logits)
    for position, query in enumerate(order[1:], start=1):
        inputs = content.clone(), logits.clone(), boxes.clone()
        inputs[0][0, query] += 1.0
        inputs[1][0, query] -= 50.0
        inputs[2][0, query, 2:] += 3.0
        actual = model(*inputs)
        assert torch.equal(actual[0, order[:position]], expected[0, order[:position]])
        assert not torch.allclose(actual[0, query], expected[0, query])


def test_a_more_confident_neighbour_matters():
    model = build()
    inputs = queries()
    first, *others = ranking(inputs[1])
    expected = model(*inputs)
    kept = [query for query in range(7) if query != first]
    actual = model(*(x[:, kept] for x in inputs))
    changed = (actual[0] - expected[0, kept]).abs().amax(-1)
    assert (changed > 1e-6).all() and len(others) == len(kept)


def test_permuted_queries_have_permuted_logits():
    model, inputs = build(num_layers=2), queries()
    order = torch.randperm(7)
    torch.testing.assert_close(model(*(x[:, order] for x in inputs)), model(*inputs)[:, order])


def test_only_the_order_of_the_scores_matters():
    model = build()
    content, logits, boxes = queries()
    assert torch.equal(model(content, logits.exp() * 3 - 1, boxes), model(content, logits, boxes))


def test_identical_queries_get_different_logits():
    inputs = [x[:, :1].expand(-1, 4, -1) for x in queries()]
    for sees_itself in (False, True):
        # the n-th of them sees n - 1 others beside the tokens
        out = build(sees_itself=sees_itself)(*inputs)
        differences = torch.cdist(out[0], out[0]) + torch.eye(4, dtype=torch.float64)
        assert differences.min() > 1e-6


@pytest.mark.parametrize(("num_tokens", "sees_itself"), [(10, False), (10, True), (0, True)])
def test_a_single_query_is_finite(num_tokens: int, sees_itself: bool):
    model = build(num_tokens=num_tokens, sees_itself=sees_itself)
    assert model(*queries(1)).isfinite().all()
    assert model(*queries(7)).isfinite().all()


def test_no_query_at_all_gives_no_logits():
    assert build()(*queries(0)).shape == (2, 0, C)


def test_without_tokens_a_query_has_to_see_itself():
    with pytest.raises(ValueError, match="num_tokens"):
        build(num_tokens=0, sees_itself=False)


@pytest.mark.parametrize("options", [{"num_heads": 3}, {"num_layers": 0}, {"num_tokens": -1}])
def test_invalid_sizes_are_refused(options: dict[str, int]):
    with pytest.raises(ValueError, match=next(iter(options))):
        build(**options)


@pytest.mark.parametrize("num_tokens", [0, 10])
def test_padding_changes_nothing(num_tokens: int):
    model, inputs = build(num_tokens=num_tokens), queries()
    padded = [torch.cat([x, x[:, :3] * 2], dim=1) for x in inputs]
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[:, 7:] = False
    actual = model(*padded, mask)
    torch.testing.assert_close(actual[:, :7], model(*inputs), rtol=0, atol=1e-12)
    for x in padded:
        x[:, 7:] = torch.nan
    assert torch.equal(model(*padded, mask), actual) and actual.isfinite().all()


def test_bias_of_pairs_is_symmetric_and_starts_at_zero():
    features = pair_features(queries()[2])
    bias = build().layers[0].attention.pair_bias(features)
    torch.testing.assert_close(bias, bias.mT)
    assert bias.abs().min() > 0
    fresh = DuplicateSuppressor(embed_dim=D, num_classes=C).double()
    assert fresh.layers[0].attention.pair_bias(features).abs().max() == 0


def test_attention_equals_a_loop_over_queries():
    model = build(num_heads=2, num_tokens=2)
    attention = model.layers[0].attention
    content, logits, boxes = queries(images=1)
    features, visible = pair_features(boxes), model.visible(logits)
    actual = attention(content, visible, features)
    bias = attention.pair_bias(features)[0]
    for i in range(7):
        seen = visible[0, i].nonzero().flatten().tolist()
        heads = []
        for h in range(2):
            part = slice(h * D // 2, (h + 1) * D // 2)
            q = attention.query_proj(content[0, i])[part]
            keys = torch.cat([content[0, seen], attention.token_keys])
            values = torch.cat([content[0, seen], attention.token_values])
            k, v = attention.key_proj(keys)[:, part], attention.value_proj(values)[:, part]
            extra = torch.cat([bias[h, i, seen], attention.token_bias[h, 0]])
            heads.append((k @ q / (D // 2) ** 0.5 + extra).softmax(0) @ v)
        torch.testing.assert_close(actual[0, i], attention.out_proj(torch.cat(heads)))


def test_residual_head_returns_the_logits_at_first():
    content, logits, boxes = queries()
    assert torch.equal(build(head=ResidualLogits)(content, logits, boxes), logits)


@pytest.mark.parametrize("head", [NewLogits, ResidualLogits])
@pytest.mark.parametrize("detach", [True, False])
def test_the_detector_gets_a_gradient_only_undetached(head: type, detach: bool):
    content, logits, boxes = (x.requires_grad_() for x in queries())
    model = build(head=head, detach=detach)
    torch.nn.init.normal_(model.head.linear.weight)
    model(content, logits, boxes).square().sum().backward()
    assert (content.grad is None) == detach
    assert logits.grad is None and boxes.grad is None
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_gradients_equal_finite_differences():
    content, logits, boxes = queries(3, images=1)
    model = build(detach=False, num_tokens=1, num_heads=2)

    def run(content: Tensor) -> Tensor:
        return model(content, logits, boxes)

    assert torch.autograd.gradcheck(run, (content.requires_grad_(),))


def test_autocast_keeps_the_order_of_float32():
    content, logits, boxes = (x.float() for x in queries(40))
    logits = logits * 1e-3  # in bfloat16 many would tie
    model = build(sees_itself=False).float()
    expected = model(content, logits, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.visible(logits), more_confident(logits))
        actual = model(content, logits, boxes)
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual.float(), expected, rtol=0.1, atol=0.1)


def test_torch_export_gives_the_same_logits():
    model, inputs = build().float().eval(), [x.float() for x in queries()]
    program = torch.export.export(model, tuple(inputs))
    torch.testing.assert_close(program.module()(*inputs), model(*inputs))


@pytest.mark.slow
def test_onnx_gives_the_same_logits(tmp_path):
    model, inputs = build().float().eval(), [x.float() for x in queries()]
    file = tmp_path / "suppressor.onnx"
    torch.onnx.export(model, tuple(inputs), file, dynamo=True, opset_version=20, verbose=False)
    session = onnxruntime.InferenceSession(file)
    names = [entry.name for entry in session.get_inputs()]
    feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, feed)[0]), model(*inputs).detach()
    )
