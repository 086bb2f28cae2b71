"""Several tasks' examples as one dataset: stored, sampled, batched."""
