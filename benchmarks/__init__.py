"""Time and memory of the parts of a model on this machine, beside their roofline bounds."""
