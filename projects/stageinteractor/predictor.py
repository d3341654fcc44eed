"""Detect objects in single images with a trained model.

    predictor = Predictor.from_config("output/demo/config.yaml", min_score=0.3)
    instances = predictor("photo.jpg")        # or bytes, a PIL image, an array, a tensor
    both = predictor(["photo.jpg", "other.jpg"])

Images are resized by the test augmentations of the config, so that the detections are those of the
evaluation; boxes are in pixels of the original image.
"""

from __future__ import annotations

import copy
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import torch
from detectron2.data import transforms as T
from detectron2.structures import Instances
from omegaconf import DictConfig, OmegaConf
from torch import nn

from .class_names import set_class_names
from .config import instantiate, load_config
from .data.image_io import as_array, load_image, name_of
from .data.mapper import augment
from .engine.augmented_detector import with_tta
from .engine.build import set_memory_format
from .engine.ema import evaluates_ema
from .engine.min_scores import MinScores, find_min_scores
from .engine.precision import inference_autocast
from .engine.run_folder import find_checkpoint
from .engine.setup import find_device
from .engine.weights import load_all_weights
from .errors import ConfigError
from .hub import CONFIG, WEIGHTS, pretrained_folder, push_to_hub, save_pretrained
from .hub.run_facts import facts_of
from .hub.saving import forget_initial_weights
from .machine.matmul import set_cpu_matmul
from .prediction.class_metadata import ClassMetadata, load_class_metadata
from .prediction.inputs import PredictorInput, check_batch, to_image_source
from .schema import check_config

__all__ = ["Predictor", "find_checkpoint"]
MAPPER = "dataloader.test.mapper"
logger = logging.getLogger(__name__)


class Predictor:
    """Detects objects in images; `from_config` builds it from the output of a training.

    Args:
        model: takes what detectron2's models take, a list of {"image": (3, H, W), "height",
            "width"}, and returns a list of {"instances": Instances}; put into evaluation mode.
        image_format: channel order that the model expects, such as "RGB" or "BGR".
        config: of the model; `save_pretrained` needs it.
        precision: "float32", "bf16", or "fp16" on a GPU. Box arithmetic and postprocessing stay
            float32.
        min_scores: thresholds of best F1 of the checkpoint's evaluation; kept for whoever wants
            to use them as ``min_score``.

    Raises:
        ConfigError: another precision, or float16 on a CPU.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform] = (),
        image_format: str = "RGB",
        classes: ClassMetadata | None = None,
        min_score: float = 0.0,
        config: DictConfig | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        precision: str = "float32",
        min_scores: MinScores | None = None,
    ) -> None:
        self.model = model.eval()
        self.augmented: nn.Module | None = None  # the model with test-time augmentation
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format
        self.classes = classes or ClassMetadata()
        self.min_score = min_score
        self.min_scores = min_scores
        self.config = config
        self.checkpoint = checkpoint
        device = next((tensor.device for tensor in model.parameters()), "cpu")
        self.autocast = inference_autocast(precision, device)

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike[str] | DictConfig,
        weights: str | os.PathLike[str] | None = None,
        device: str = "auto",
        min_score: float = 0.0,
        trust_config: bool = False,
        *,
        precision: str = "float32",
        tta: Sequence[float] | None = None,
    ) -> Predictor:
        """Build the model of a config and load its weights.

        Neither the data set nor backbone weights are needed: the checkpoint holds all weights.

        Args:
            config: path of a config file, such as the ``config.yaml`` of a run, or of the run's
                folder; or a config.
            weights: checkpoint; by default the ``model_best.pth`` or else last checkpoint beside
                ``config.yaml`` or in ``train.output_dir``, else ``train.init_checkpoint``.
            device: "auto", "cpu", "cuda" or "cuda:1".
            min_score: detections with a lower score are dropped.
            trust_config: as ``trust`` of `load_config`.
            precision: "float32", "bf16", or "fp16" on a GPU.
            tta: scales of test-time augmentation, each also mirrored, such as [1.0]; slower by
                twice their number. By default ``train.tta``.

        Raises:
            ConfigError: the config cannot be read or built, there is no such device, or the device
                has no such precision.
            DataError: there is no checkpoint, or it does not hold all weights of the model.
        """
        if isinstance(config, DictConfig):
            cfg, file = copy.deepcopy(config), None
        else:
            cfg, file = load_config(config, trust=trust_config), config
        check_config(cfg)
        device = find_device(device, "device")
        inference_autocast(precision, device)  # refuse it before anything is loaded
        checkpoint = weights or find_checkpoint(cfg, file)
        classes = load_class_metadata(cfg)
        if classes.names and "dataset" in cfg:
            cfg.dataset.num_classes = len(classes.names)
            set_class_names(cfg.dataset, classes.names)
            cfg.dataset.category_ids = list(classes.category_ids) or None
        mapper = _test_mapper(cfg)
        augmentations = instantiate(mapper.augmentations, f"{MAPPER}.augmentations")
        forget_initial_weights(cfg.model)
        model = instantiate(cfg.model, "model")
        content = load_all_weights(model, checkpoint, evaluates_ema(cfg))
        model = model.to(device)
        set_memory_format(model, OmegaConf.select(cfg, "train.channels_last", default="auto"))
        if device == "cpu":
            setting = OmegaConf.select(cfg, "train.cpu_matmul", default="auto")
            logger.info("%s", set_cpu_matmul(setting))
        predictor = cls(
            model,
            augmentations=augmentations,
            image_format=mapper.get("image_format", "RGB"),
            classes=classes,
            min_score=min_score,
            config=cfg,
            checkpoint=checkpoint,
            precision=precision,
            min_scores=find_min_scores(checkpoint, content),
        )
        scales = OmegaConf.select(cfg, "train.tta", default=None) if tta is None else tta
        if scales:
            predictor.augmented, _ = with_tta(predictor.model, cfg.dataloader.test, scales)
            predictor.augmentations = T.AugmentationList([])
        return predictor

    @classmethod
    def from_onnx(cls, file: str | os.PathLike[str], min_score: float = 0.0) -> Predictor:
        """Load a file of ``stageinteractor export``, which onnxruntime runs on the CPU.

        The file has the resizing, the class names and the thresholds; no config is needed. Images
        of a batch are run one by one.

        Args:
            file: ONNX, in any precision.
            min_score: detections with a lower score are dropped.

        Raises:
            DataError: the file is missing, cannot be read, or is not of this version.
            MissingDependencyError: onnxruntime is not installed.
        """
        from .export.onnx_file import load_onnx

        loaded = load_onnx(file)
        return cls(
            loaded.detector,
            augmentations=loaded.augmentations,
            image_format=loaded.image_format,
            classes=loaded.classes,
            min_score=min_score,
            min_scores=loaded.min_scores,
        )

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | None = None,
        device: str = "auto",
        min_score: float = 0.0,
        trust_config: bool = False,
        precision: str = "float32",
    ) -> Predictor:
        """Load a pretrained folder, or a repository of the Hugging Face Hub.

        Args:
            name: of a folder that `save_pretrained` has written, else "owner/name".
            revision: branch, tag or commit hash of a repository; a hash pins the content.
            token: of the Hub, for private repositories.
            device, min_score, trust_config, precision: see `from_config`.

        Raises:
            ConfigError: as `from_config`.
            MissingDependencyError: huggingface_hub is not installed.
            DataError: there is no such folder, repository or revision, or a file is missing.
        """
        folder = pretrained_folder(name, revision, token)
        return cls.from_config(
            folder / CONFIG, folder / WEIGHTS, device, min_score, trust_config, precision=precision
        )

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        command: str | None = None,
        licence: str | None = None,
    ) -> Path:
        """Write ``config.yaml``, ``model.safetensors`` and a model card to a folder.

        Args:
            folder: made if it does not exist.
            command: that the model was trained with, for the card.
            licence: of the weights, such as "apache-2.0", for the card.

        Raises:
            ConfigError: the predictor was not built from a config.
            OutputError: a file cannot be written.
        """
        if self.config is None:
            raise ConfigError("only a predictor of from_config or from_pretrained can be saved")
        facts = facts_of(self.checkpoint, command, licence) if self.checkpoint else None
        return save_pretrained(
            self.model, self.config, folder, facts=facts, min_scores=self.min_scores
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        revision: str | None = None,
        token: str | None = None,
        command: str | None = None,
        licence: str | None = None,
    ) -> str:
        """Upload the model to the Hugging Face Hub and return the address of the commit.

        Args:
            repo_id: "owner/name"; the repository is created if it does not exist.
            private, revision, token: see `stageinteractor.hub.push_to_hub`.
            command, licence: see `save_pretrained`.

        Raises:
            ConfigError: as `save_pretrained`.
            MissingDependencyError: huggingface_hub is not installed.
            DataError: the token may not write there, or the Hub cannot be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, command=command, licence=licence)
            return push_to_hub(folder, repo_id, private=private, revision=revision, token=token)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty if neither the config nor an annotation file has them."""
        return self.classes.names

    @overload
    def __call__(self, image: PredictorInput) -> Instances: ...

    @overload
    def __call__(
        self, image: list[PredictorInput] | tuple[PredictorInput, ...]
    ) -> list[Instances]: ...

    def __call__(
        self, image: PredictorInput | list[PredictorInput] | tuple[PredictorInput, ...]
    ) -> Instances | list[Instances]:
        """Return the detections of one image, best first, or of each image of a list.

        Args:
            image: path, open file, encoded bytes (of a JPEG, PNG, ...), PIL image, uint8 RGB array
                (H, W, 3), uint8 RGB tensor (3, H, W); or a list of these.

        Returns:
            Instances with ``pred_boxes`` in xyxy pixels of the upright image, ``scores`` and
            ``pred_classes``, on the CPU; a list of these for a list.

        Raises:
            InputTypeError: another type, such as a tensor of floats; it is a DataError and a
                TypeError.
            DataError: the image cannot be read or resized.
        """
        if isinstance(image, list | tuple):
            return self.batch(image)
        return self.batch([image])[0]

    @torch.no_grad()
    def batch(self, images: Sequence[PredictorInput]) -> list[Instances]:
        """Return the detections of several images; equal padded sizes share a forward pass."""
        check_batch(images)
        if not images:
            return []
        inputs = [self._model_input(image) for image in images]
        with self.autocast:
            outputs = (self.model if self.augmented is None else self.augmented)(inputs)
        predictions = [output["instances"].to("cpu") for output in outputs]
        return [instances[instances.scores >= self.min_score] for instances in predictions]

    def _model_input(self, image: PredictorInput) -> dict[str, Any]:
        """Return an image as `DetectionMapper` returns one of a data set."""
        source = to_image_source(image)
        pixels = as_array(load_image(source), self.image_format)
        height, width = pixels.shape[:2]
        tensor, _ = augment(self.augmentations, pixels, name_of(source))
        return {"image": tensor, "height": height, "width": width}


def _test_mapper(cfg: DictConfig) -> DictConfig:
    mapper = OmegaConf.select(cfg, MAPPER, default=None)
    if mapper is None or "augmentations" not in mapper:
        raise ConfigError(f"config key '{MAPPER}.augmentations' is missing: it resizes the images")
    return mapper
