"""Side-by-side measurements of Omniloss and its peers: ``python -m benchmarks --help``."""
