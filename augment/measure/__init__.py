"""How far is it from the real images? Features of extractors and set metrics."""
