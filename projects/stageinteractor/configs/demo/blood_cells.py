"""A small StageInteractor on blood cells under the microscope: docs/tutorial.md."""

from stageinteractor import get_config

from .digits_in_photos import lr_multiplier, model, optimizer, train

dataset = get_config("common/data/blood_cells.py").dataset
dataloader = get_config("common/data/blood_cells.py").dataloader

model.queries.num_queries = 60  # twice the cells of the fullest image
train.output_dir = "output/blood_cells"
train.max_iter = 600
train.eval_period = train.checkpointer.period = 150
