import pytest
import torch
from integrations.toy_hosts import FocalHost, OtherNamesHost, SoftmaxHost, VarifocalHost

from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.label_loss_probe import find_label_loss


@pytest.mark.parametrize(
    ("host", "hooks", "multi_label"),
    [
        (FocalHost, ("loss_labels",), True),
        (OtherNamesHost, ("loss_labels",), True),
        (VarifocalHost, ("loss_labels_vfl",), True),
        (SoftmaxHost, ("loss_labels",), False),
    ],
)
@pytest.mark.parametrize("num_classes", [1, 2, 80])
def test_hooks_and_form_of_the_class_loss(host, hooks, multi_label, num_classes):
    assert find_label_loss(host(num_classes)) == (hooks, multi_label)


def test_nothing_of_the_host_is_changed_by_looking():
    host = SoftmaxHost()
    before, state = set(vars(host)), {k: v.clone() for k, v in host.state_dict().items()}
    find_label_loss(host)
    assert set(vars(host)) == before
    assert host.matcher.calls == 0
    assert all(torch.equal(host.state_dict()[name], value) for name, value in state.items())


class TwoHooksHost(FocalHost):
    losses = ("labels", "labels_more", "boxes")

    def loss_labels_more(self, outputs, targets, indices, num_boxes):
        losses = self.loss_labels(outputs, targets, indices, num_boxes)
        return {"loss_more": 2 * losses["loss_class"]}


def test_all_class_losses_in_use_are_returned():
    assert find_label_loss(TwoHooksHost()).hooks == ("loss_labels", "loss_labels_more")


class MixedHost(SoftmaxHost):
    losses = ("labels", "labels_mean", "boxes")

    def loss_labels_mean(self, outputs, targets, indices, num_boxes):
        return {"loss_mean": self.one_hot(outputs | {}, targets, indices).float().mean()}


def test_one_loss_that_is_no_sum_makes_the_whole_one_label_only():
    assert find_label_loss(MixedHost()) == (("loss_labels", "loss_labels_mean"), False)


class NoGetLossHost(FocalHost):
    """Calls its losses by their names."""

    get_loss = property()


def test_without_get_loss_the_usual_name_is_taken():
    assert find_label_loss(NoGetLossHost()) == (("loss_labels",), True)


class MasksHost(FocalHost):
    """Has a loss that cannot be tried on logits and boxes alone."""

    losses = ("masks", "labels", "boxes")

    def loss_masks(self, outputs, targets, indices, num_boxes):
        return {"loss_mask": outputs["pred_masks"].sum()}


def test_other_losses_may_need_more_than_the_probe_has():
    assert find_label_loss(MasksHost()) == (("loss_labels",), True)


@pytest.mark.parametrize("num_classes", [None, 0, "80", 2.0])
def test_a_number_of_classes_that_is_none_is_refused(num_classes):
    host = FocalHost()
    host.num_classes = num_classes
    with pytest.raises(UnsupportedHostError, match="FocalHost has no num_classes"):
        find_label_loss(host)
