"""What is real: image sources, few-shot sets, pixels."""
