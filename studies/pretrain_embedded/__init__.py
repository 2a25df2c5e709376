"""The embedded backbone: a small network, pretrained on images that this project draws itself."""
