"""Training, calibration and export of flashmd-rs models in PyTorch; import of metatrain checkpoints."""
