import itertools

import pytest
import torch
from detectron2.engine import HookBase
from torch import nn

from stageinteractor.engine.trainer import Trainer
from stageinteractor.errors import ConfigError, DataError, NonFiniteLossError, OutputError


class Quadratic(nn.Module):
    """loss = (w - x)^2 for every number of the batch, and a constant."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, batch):
        self.seen.append([item["image_id"] for item in batch])
        values = torch.stack([(self.w - item["x"]).square().sum() for item in batch])
        return {"loss_fit": values.mean(), "loss_constant": values.new_tensor(1.0)}


def batches(*values):
    number = itertools.count(1)
    return [[{"x": value, "image_id": next(number)}] for value in values]


def make(loader, lr=0.25, **settings):
    model = Quadratic()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return model, Trainer(model, loader, optimizer, **settings)


def test_step_by_hand():
    """w = 0, x = 2: gradient 2 (0 - 2) = -4, w = 0 + 0.25 * 4 = 1."""
    model, trainer = make(batches(2.0))
    trainer.train(0, 1)
    assert model.w.item() == pytest.approx(1.0)


def test_losses_of_every_iteration_are_recorded():
    """w = 0, 1, 1.5, 1.75 towards x = 2: losses (w - x)^2 + 1, of which writers take the median."""
    _, trainer = make(batches(2.0, 2.0, 2.0, 2.0))
    trainer.train(0, 4)
    values = [(value, step) for value, step in trainer.storage.history("total_loss").values()]
    assert values == [(5.0, 0), (2.0, 1), (1.25, 2), (1.0625, 3)]


def test_accumulation_averages_the_gradients():
    """x = 2 and x = 4: mean gradient -(4 + 8) / 2 = -6, w = 1.5, in one step."""
    model, trainer = make(batches(2.0, 4.0), accumulate=2)
    trainer.train(0, 1)
    assert model.w.item() == pytest.approx(1.5)


def test_clipping_limits_the_gradient_norm():
    model, trainer = make(batches(2.0), clip_grad={"max_norm": 1.0, "norm_type": 2.0})
    trainer.train(0, 1)
    assert model.w.item() == pytest.approx(0.25, rel=1e-5)


def test_non_finite_loss_stops_before_the_step():
    model, trainer = make(batches(2.0, float("inf")))
    with pytest.raises(NonFiniteLossError, match="iteration 1, image ids 2: loss_fit is inf"):
        trainer.train(0, 2)
    assert model.w.item() == pytest.approx(1.0)  # as after the first step


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_non_finite_gradients_stop_before_the_step(amp):
    """The loss |w - 2| + 0 sqrt(w) is 2 at w = 0, its gradient -1 + 0 / 0."""
    kept = []
    model, trainer = make(
        batches(2.0, 3.0),
        amp=amp,
        accumulate=2,
        clip_grad={"max_norm": 1.0, "norm_type": 2.0},
        save_non_finite_step=kept.append,
    )
    model.forward = lambda batch: {"loss": (model.w - 2).abs().sum() + (0 * model.w.sqrt()).sum()}
    with pytest.raises(NonFiniteLossError, match="ids 1, 2: norm of the gradients is nan"):
        trainer.train(0, 1)
    assert model.w.item() == 0.0
    assert kept[0].batch == [{"x": 2.0, "image_id": 1}, {"x": 3.0, "image_id": 2}]


def test_stage_of_the_loss_is_named_and_the_step_saved():
    kept = []
    loader = [[{"x": 2.0, "image_id": 1}], [{"x": float("nan"), "image_id": 2}]]
    model, trainer = make(loader, accumulate=2, save_non_finite_step=kept.append)
    whole = model.forward
    model.forward = lambda batch: {"loss_class_3": whole(batch)["loss_fit"]}
    with pytest.raises(NonFiniteLossError, match="image ids 2: loss_class of stage 3 is nan"):
        trainer.train(5, 6)
    assert [(step.iteration, step.micro, step.batch) for step in kept] == [(5, 1, loader[1])]


def test_step_skipped_by_the_grad_scaler_is_no_error():
    """The scaled gradient 2 * 65536 * 4 is too large for float16; the scale is halved."""

    class Half(Quadratic):
        def forward(self, batch):
            return {"loss": ((self.w - 2.0).half() ** 2).float().sum()}

    model = Half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    trainer = Trainer(model, batches(*[1.0] * 8), optimizer, amp="fp16")
    trainer.train(0, 1)
    assert model.w.item() == 0.0  # skipped
    assert trainer.scaler.get_scale() == 2.0**15
    state = trainer.state_dict()
    trainer.train(1, 6)
    assert model.w.item() > 1.0
    other = Trainer(model, [], optimizer, amp="fp16")
    other.load_state_dict(state)
    assert other.scaler.get_scale() == 2.0**15


def test_random_numbers_depend_on_seed_and_iteration():
    class Drawing(Quadratic):
        def forward(self, batch):
            self.seen.append(torch.rand(()).item())
            return super().forward(batch)

    def drawn(start, seed):
        model = Drawing()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        Trainer(model, batches(*[1.0] * 9), optimizer, seed=seed).train(start, 6)
        return model.seen[::2]

    assert drawn(0, seed=1)[4:] == drawn(4, seed=1)
    assert len({*drawn(0, seed=1), *drawn(0, seed=2)}) == 12


def test_error_in_after_train_does_not_hide_the_first():
    class Full(HookBase):
        def after_train(self):
            raise OutputError("metrics.json: cannot be written")

    ends = []

    class Last(HookBase):
        def after_train(self):
            ends.append(self.trainer.iter + 1 >= self.trainer.max_iter)  # as EvalHook asks

    _, trainer = make(batches(float("inf")))
    trainer.register_hooks([Last(), Full()])
    with pytest.raises(NonFiniteLossError):
        trainer.train(0, 1)
    assert ends == [False]
    _, trainer = make(batches(1.0))
    trainer.register_hooks([Full()])
    with pytest.raises(OutputError):
        trainer.train(0, 1)


def test_resume_first_runs_the_hooks_after_the_checkpoint():
    calls = []

    class Recorder(HookBase):
        def __init__(self, name):
            self.name = name

        def after_step(self):
            calls.append((self.name, self.trainer.iter, self.trainer.storage.iter))

    _, trainer = make(batches(1.0))
    hooks = [Recorder(name) for name in ("before", "checkpoint", "after")]
    trainer.register_hooks(hooks)
    trainer.train(4, 5, finish_after=hooks[1])
    assert calls == [("after", 3, 3)] + [(hook.name, 4, 4) for hook in hooks]


def test_non_finite_costs_are_reported_with_the_images():
    model, trainer = make(batches(2.0))
    model.forward = lambda batch: (_ for _ in ()).throw(FloatingPointError("costs of stage 0"))
    with pytest.raises(NonFiniteLossError, match="image ids 1: costs of stage 0"):
        trainer.train(0, 1)


def test_error_of_the_data_loader_is_one_line():
    def loader():
        raise DataError("Caught DataError in worker\nTraceback\nsome.DataError: a.png is broken")
        yield

    _, trainer = make(loader())
    with pytest.raises(DataError, match=r"^some.DataError: a.png is broken$|^a.png is broken$"):
        trainer.train(0, 1)


def test_hooks_run_around_every_step():
    calls = []

    class Recorder(HookBase):
        def before_step(self):
            calls.append(("before", self.trainer.iter))

        def after_step(self):
            calls.append(("after", self.trainer.iter))

    _, trainer = make(batches(1.0, 1.0))
    trainer.register_hooks([Recorder()])
    trainer.train(3, 5)
    assert calls == [("before", 3), ("after", 3), ("before", 4), ("after", 4)]


@pytest.mark.parametrize(
    ("settings", "message"), [({"amp": "fp8"}, "train.amp"), ({"accumulate": 0}, "accumulate")]
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make([], **settings)


def test_failed_save_does_not_hide_the_loss():
    def full(step):
        raise OutputError("run/bad.pth: cannot be written: No space left on device")

    _, trainer = make(batches(float("inf")), save_non_finite_step=full)
    with pytest.raises(NonFiniteLossError, match="loss_fit is inf.*No space left"):
        trainer.train(0, 1)
