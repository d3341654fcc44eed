"""ASAG's anchors: patches of an image, the network that predicts anchors in them, probing."""
