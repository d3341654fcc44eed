"""A small StageInteractor on real aerial photographs (`make demo-real`)."""

from stageinteractor import get_config

from .digits_in_photos import lr_multiplier, model, optimizer, train

dataset = get_config("common/data/tree_crowns.py").dataset
dataloader = get_config("common/data/tree_crowns.py").dataloader

train.output_dir = "output/demo-real"
train.max_iter = 600
train.scale_lr.base_batch_size = 4
train.eval_period = train.checkpointer.period = 150
