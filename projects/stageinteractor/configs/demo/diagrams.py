"""A small StageInteractor on hand-drawn process diagrams, at 512 pixels."""

from stageinteractor import get_config

from .digits_in_photos import lr_multiplier, model, optimizer, train

dataset = get_config("common/data/diagrams.py").dataset
dataloader = get_config("common/data/diagrams.py").dataloader

model.queries.num_queries = 100  # up to 40 symbols in an image
train.output_dir = "output/diagrams"
train.max_iter = 1200
train.eval_period = train.checkpointer.period = 300
