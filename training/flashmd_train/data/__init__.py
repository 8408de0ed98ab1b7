"""What models are trained on: segments of reference MD, pairs one stride apart, single frames with forces."""
