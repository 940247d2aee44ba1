"""Convolutional networks: the space, the architecture, the torch module."""
