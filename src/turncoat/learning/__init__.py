"""Models, per-worker gradients, and training round by round."""
