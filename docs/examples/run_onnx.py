"""Detect objects in an image: run_onnx.py MODEL.onnx IMAGE (onnxruntime, numpy and Pillow)."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
names, rule, best = (json.loads(facts[key]) for key in ("class_names", "resize", "min_score"))

image = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
scale = rule["shortest"] / min(image.size) if rule else 1.0
scale = min(scale, rule["longest"] / max(image.size)) if rule and rule["longest"] else scale
resized = image.resize([int(length * scale + 0.5) for length in image.size], Image.BILINEAR)
pixels = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1)[None]

inputs = {"images": pixels, "sizes": np.array([pixels.shape[2:]])}
boxes, scores, labels = (x[0] for x in session.run(["boxes", "scores", "labels"], inputs))
boxes *= np.tile(np.divide(image.size, resized.size), 2)  # back to pixels of the image
for box, score, label in zip(boxes, scores, labels, strict=True):
    if score >= (best or 0.3):  # the threshold of best F1, if the checkpoint was evaluated
        print(f"{names[label]} {score:.2f}", *(f"{x:.1f}" for x in box))
