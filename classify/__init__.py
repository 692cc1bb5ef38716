"""Train a timm classifier on a few real images plus synthetic shards, and compare augmentation methods by accuracy."""
