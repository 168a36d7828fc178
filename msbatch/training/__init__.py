"""One task: training patients in, predictions for the held-out patient out."""
