"""How a run is carried out: length, precision, what is written when."""

train = dict(
    output_dir="./output",
    device="auto",  # "auto" is cuda where there is one, else cpu
    seed=0,
    max_iter=90000,
    epochs=None,  # if set, max_iter is computed from the size of the training set
    init_checkpoint="",  # all weights to begin with, or to evaluate
    backbone_weights="",  # of the backbone, to train from (tools/prepare_weights.py)
    amp="off",  # "off", "fp16" or "bf16"; evaluation is always in float32
    compile=False,  # the decoder, by torch.compile: takes minutes to begin with, for GPUs
    channels_last=False,  # memory of the maps: faster for ResNets, not for deformable convolutions
    accumulate=1,  # micro-batches an optimiser step
    clip_grad=dict(max_norm=1.0, norm_type=2.0),
    ema=dict(enabled=False, decay=0.9998),
    eval_period=5000,  # iterations; 0: only at the end
    checkpointer=dict(period=5000, max_to_keep=3),
    log_period=20,
    writers=["tensorboard"],  # beside console and metrics.json; "wandb" for Weights & Biases
    wandb=dict(project="stageinteractor", name=None, mode="online"),  # mode "offline" keeps it here
    best_metric="bbox/AP",
    fast_dev_run=False,  # a few iterations of everything
    scale_lr=dict(enabled=False, base_batch_size=16),
)
