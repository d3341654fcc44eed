import pytest
from torch import nn

from stageinteractor.attributes import replaced


class Calls(nn.Module):
    def forward(self, x):
        return x + 1

    def twice(self, x):
        return 2 * x


def test_methods_are_replaced_inside_and_back_outside():
    module = Calls()
    with replaced(module, forward=lambda x: -x, twice=lambda x: x):
        assert module(3) == -3
        assert module.twice(3) == 3
        assert Calls().twice(3) == 6
    assert module(3) == 4
    assert module.twice(3) == 6
    assert not {"forward", "twice"} & set(vars(module))


def test_methods_are_back_after_an_error():
    module = Calls()
    with pytest.raises(ZeroDivisionError), replaced(module, twice=lambda x: x / 0):
        module.twice(1)
    assert module.twice(1) == 2


def test_a_method_that_the_instance_had_itself_is_back_too():
    module = Calls()
    module.twice = own = lambda x: 2 * x + 1
    with replaced(module, twice=lambda x: 0):
        assert module.twice(3) == 0
    assert module.twice is own
