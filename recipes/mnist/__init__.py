"""Handwritten digits from MNIST's own files: three small networks of the lecture, trained from nothing."""
