"""Fit a backbone to a few images per class: LoRA on its networks, a new word for each class, or both."""
