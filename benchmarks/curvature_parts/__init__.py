"""The pieces of benchmarks/curvature.py: nets, truth, contenders, and what is asked of them."""
