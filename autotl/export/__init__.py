"""Trained models for use without autotl: ONNX, torch's exported programs, timm."""
