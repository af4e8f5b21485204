"""Kernels laid on pictures by hand, and the recipe that draws them."""
