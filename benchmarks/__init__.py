"""Programs that measure this package; run from the repository's root as `python -m benchmarks.NAME --help`."""
