"""What the parts of the model cost on this machine, beside the least they could cost."""
