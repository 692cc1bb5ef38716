"""Which augmentation is best? Cells, their folder, and what runs them."""
