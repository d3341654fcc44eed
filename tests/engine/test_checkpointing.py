import errno
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from stageinteractor.engine.checkpointing import AtomicCheckpointer, PeriodicCheckpoint
from stageinteractor.engine.ema import ModelEMA
from stageinteractor.engine.stopping import StopRequest
from stageinteractor.engine.weights import load_weights, read_checkpoint
from stageinteractor.errors import DataError, NonFiniteLossError, OutputError


def test_resume_loads_model_and_ema(tmp_path):
    model, average = nn.Linear(2, 1), ModelEMA(nn.Linear(2, 1), 0.9).average
    AtomicCheckpointer(model, str(tmp_path), ema=average).save("model_0000004", iteration=4)
    other, other_average = nn.Linear(2, 1), ModelEMA(nn.Linear(2, 1), 0.9).average
    assert AtomicCheckpointer(other, str(tmp_path), ema=other_average).resume() == 5
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(average.module.weight, other_average.module.weight)


@pytest.mark.parametrize("before", [True, False])
def test_ema_cannot_be_turned_on_or_off_at_resume(tmp_path, before):
    average = ModelEMA(nn.Linear(2, 1), 0.9).average
    first, second = ({"ema": average} if on else {} for on in (before, not before))
    AtomicCheckpointer(nn.Linear(2, 1), str(tmp_path), **first).save("model_final", iteration=4)
    with pytest.raises(DataError, match="an EMA of the weights" if before else "lacks 'ema'"):
        AtomicCheckpointer(nn.Linear(2, 1), str(tmp_path), **second).resume()


def test_failed_save_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    model = nn.Linear(2, 1)
    checkpointer = AtomicCheckpointer(model, str(tmp_path))
    checkpointer.save("model_final", iteration=1)

    def half_written(content, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OutputError, match="No space.* checkpoint is .*model_final.pth"):
        checkpointer.save("model_final", iteration=2)
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model_final.pth", "last_checkpoint"}


def test_pickle_with_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    (tmp_path / "harmful.pth").write_bytes(pickle.dumps({"model": Harmful()}))
    with pytest.raises(DataError, match="harmful.pth: not a checkpoint"):
        read_checkpoint(tmp_path / "harmful.pth")
    assert not (tmp_path / "ran").exists()


def test_tensors_of_other_shapes_are_skipped_and_logged(tmp_path, caplog):
    old = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 5), "gone": nn.Linear(1, 1)})
    new = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 3), "new": nn.Linear(1, 1)})
    before = new["head"].weight.clone()
    torch.save(old.state_dict(), tmp_path / "old.pth")
    with caplog.at_level("INFO", logger="stageinteractor"):
        load_weights(new, tmp_path / "old.pth")
    assert torch.equal(new["body"].weight, old["body"].weight)
    assert torch.equal(new["head"].weight, before)
    log = caplog.text
    assert "other shapes, left as they were initialised: head.weight, head.bias" in log
    assert "ignored: gone.weight" in log and "missing, left" in log
    assert "loaded 2 of the model's 6 tensors" in log


def test_ema_weights_are_loaded_on_request(tmp_path):
    model = nn.Linear(2, 1)
    average = ModelEMA(model, 0.5)
    nn.init.constant_(model.weight, 7.0)
    AtomicCheckpointer(model, str(tmp_path), ema=average.average).save("model_final", iteration=0)
    plain, averaged = nn.Linear(2, 1), nn.Linear(2, 1)
    load_weights(plain, tmp_path / "model_final.pth")
    load_weights(averaged, tmp_path / "model_final.pth", ema=True)
    assert torch.equal(plain.weight, model.weight)
    assert torch.equal(averaged.weight, average.model.weight)
    assert not torch.equal(plain.weight, averaged.weight)


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="none of its 1 entries fits"):
        load_weights(nn.Linear(2, 1), tmp_path / "other.pth")


def test_non_finite_weights_are_not_saved(tmp_path):
    model = nn.Linear(2, 1)
    checkpointer = AtomicCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    nn.init.constant_(model.bias, float("nan"))
    with pytest.raises(NonFiniteLossError, match="1 parameters such as bias are not finite"):
        checkpointer.save("model_0000002", iteration=2)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")


def periodic(folder, max_to_keep, start, request=None):
    checkpointer = AtomicCheckpointer(nn.Linear(2, 1), str(folder))
    hook = PeriodicCheckpoint(checkpointer, 2, max_to_keep, request or StopRequest())
    hook.trainer = SimpleNamespace(start_iter=start, max_iter=100, iter=start)
    hook.before_train()
    return hook


def names(folder):
    return sorted(path.name for path in folder.glob("model_*"))


def test_old_checkpoints_are_removed_after_a_resume_too(tmp_path):
    first = periodic(tmp_path, None, 0)
    for first.trainer.iter in range(8):
        first.after_step()
    assert len(names(tmp_path)) == 4
    (tmp_path / "model_best.pth").touch()
    second = periodic(tmp_path, 2, 8)
    assert names(tmp_path) == ["model_0000005.pth", "model_0000007.pth", "model_best.pth"]
    second.trainer.iter = 9
    second.after_step()
    assert names(tmp_path) == ["model_0000007.pth", "model_0000009.pth", "model_best.pth"]


def test_new_run_keeps_checkpoints_of_an_earlier_run(tmp_path):
    (tmp_path / "model_0000005.pth").touch()
    (tmp_path / "model_0000007.pth").touch()
    periodic(tmp_path, 1, 0)
    assert names(tmp_path) == ["model_0000005.pth", "model_0000007.pth"]


@pytest.mark.parametrize(("present", "start", "kept"), [([3, 7], 4, 1), ([1, 3, 5], 2, 2)])
def test_resume_keeps_the_checkpoint_that_it_starts_from(tmp_path, present, start, kept):
    """Later ones belong to a longer run before, or to this one, which goes back."""
    for number in present:
        (tmp_path / f"model_{number:07d}.pth").touch()
    hook = periodic(tmp_path, kept, start)
    assert names(tmp_path) == [f"model_{number:07d}.pth" for number in present]
    for hook.trainer.iter in range(start, 8):
        hook.after_step()
        last = (tmp_path / "last_checkpoint").read_text() if hook.trainer.iter > start else None
        assert last is None or (tmp_path / last).is_file()


def test_temporary_file_of_a_killed_run_is_removed(tmp_path):
    (tmp_path / ".model_0000005.xyz.pth").touch()
    periodic(tmp_path, 1, 4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("iteration", "saved"), [(4, 1), (5, 1), (99, 2)])
def test_stop_request_saves_once_and_exits(tmp_path, iteration, saved):
    request = StopRequest()
    hook = periodic(tmp_path, None, 0, request)
    hook.trainer.iter, request.signal = iteration, 15
    with pytest.raises(SystemExit) as stop:
        hook.after_step()
    assert stop.value.code == 143
    expected = [f"model_{iteration:07d}.pth", "model_final.pth"]
    assert names(tmp_path) == expected[:saved]
