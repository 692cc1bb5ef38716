"""See what interpolation does: every figure of the sources, from any backbone. `augment explore --help` lists them."""
