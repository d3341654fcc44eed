"""Classes of transformers that the assigner cannot serve, and the reason that each is given."""

import pytest
import transformers
from torch import nn

from stageinteractor.errors import UnsupportedHostError
from stageinteractor.integrations.transformers import _check_model, use_cross_stage

NOT_TRAINED = "computes no loss from labels"
REFUSED = {
    "YolosForObjectDetection": "no decoder",
    "OwlViTForObjectDetection": NOT_TRAINED,
    "Owlv2ForObjectDetection": NOT_TRAINED,
    "OmDetTurboForObjectDetection": NOT_TRAINED,
    "PPDocLayoutV2ForObjectDetection": NOT_TRAINED,
    "PPDocLayoutV3ForObjectDetection": NOT_TRAINED,
    "PPDocLayoutV4ForObjectDetection": NOT_TRAINED,
    "PPOCRV5MobileDetForObjectDetection": NOT_TRAINED,
    "PPOCRV5ServerDetForObjectDetection": NOT_TRAINED,
    "PPOCRV6MediumDetForObjectDetection": NOT_TRAINED,
    "PPOCRV6SmallDetForObjectDetection": NOT_TRAINED,
    "GroundingDinoForObjectDetection": "tokens of a phrase",
    "MMGroundingDinoForObjectDetection": "tokens of a phrase",
}


def without_weights(kind, **config):
    """Return a model that has its class and config only."""
    model = kind.__new__(kind)
    nn.Module.__init__(model)
    model.config = kind.config_class(**config)
    model.loss_type = kind.__name__ if "Dino" in kind.__name__ else "ForObjectDetection"
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_once_with_the_reason(name):
    if not hasattr(transformers, name):
        pytest.skip(f"this version of transformers has no {name}")
    with pytest.raises(UnsupportedHostError, match=f"{name}.*{REFUSED[name]}"):
        use_cross_stage(without_weights(getattr(transformers, name)))


def test_auxiliary_loss_does_not_help_yolos():
    model = without_weights(transformers.YolosForObjectDetection, auxiliary_loss=True)
    with pytest.raises(UnsupportedHostError, match="no decoder"):
        use_cross_stage(model)


def test_a_model_without_auxiliary_losses_is_refused():
    class Config:
        decoder_layers = 6

    class Other(nn.Module):
        config, loss_function = Config(), None

        def forward(self, images):
            return self.loss_function(images)

    with pytest.raises(UnsupportedHostError, match="Other has no auxiliary losses"):
        use_cross_stage(Other())


def test_a_subclass_that_calls_the_forward_of_its_base_is_served():
    class Mine(transformers.DeformableDetrForObjectDetection):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    _check_model(without_weights(Mine))
