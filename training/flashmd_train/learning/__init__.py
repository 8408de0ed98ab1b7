"""Training: settings, pre-training by least squares, losses, the loop, metrics, checkpoints, several processes."""
