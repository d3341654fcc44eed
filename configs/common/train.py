"""How a run is carried out; keys that detrex has too are called as there.

stageinteractor/schema/train.py says which values a key takes; others are refused before anything is
built. Whole numbers may be written as floats (1e3), text as it stands, paths from ``~``.
"""

train = dict(
    output_dir="./output",
    device="auto",  # "auto" is cuda where there is one, else cpu
    seed=0,  # 0 or more; none is drawn (-1 is 0), so that a run can be repeated
    max_iter=90000,
    epochs=None,  # if set, max_iter is computed from the size of the training set
    init_checkpoint="",  # all weights to begin with, or to evaluate
    backbone_weights="",  # of the backbone, to train from (stageinteractor weights)
    amp=dict(enabled=False, dtype="auto"),  # auto: fp16 on GPUs, on CPUs bf16 if faster
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    compile=False,  # the decoder, by torch.compile: takes minutes to begin with, for GPUs
    cpu_matmul="auto",  # oneDNN for float32 products where exact and faster; "onednn", "default"
    channels_last="auto",  # memory of the maps: true, false; auto: for ResNets on CPUs
    accumulate=1,  # micro-batches per optimiser step, which equals that of one large batch
    frozen_stages=0,  # of the backbone, stem included: their weights and statistics are kept
    clip_grad=dict(enabled=True, params=dict(max_norm=1.0, norm_type=2.0)),
    model_ema=dict(
        enabled=False,
        decay=0.9998,
        device="",  # that of the model; no other
        use_ema_weights_for_eval_only=True,  # also for predictions
    ),
    tta=[],  # scales of test-time augmentation, each also mirrored; [1.0]: mirrored only
    eval_precision="float32",  # of evaluations; "bf16", or "fp16" on GPUs
    eval_period=5000,  # iterations; 0 or null: only at the end
    checkpointer=dict(period=5000, max_to_keep=3),  # max_to_keep=null: all
    log_period=20,
    writers=["tensorboard"],  # beside console and metrics.json; null: no other
    wandb=dict(  # params: what wandb.init takes; mode "offline" keeps it here
        enabled=False, params=dict(project="stageinteractor", name=None, mode="online")
    ),
    best_metric="bbox/AP",
    early_stopping=dict(enabled=False, patience=5),  # evaluations in a row without a better metric
    fast_dev_run=dict(enabled=False),  # a few iterations of everything
    scale_lr=dict(enabled=False, base_batch_size=16),  # images per step that the rate is for
)
