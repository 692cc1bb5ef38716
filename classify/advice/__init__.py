"""Is augmentation worth it for these images, and which? A search inside the few-shot set, and its confirmation."""
