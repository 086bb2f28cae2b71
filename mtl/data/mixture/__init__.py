"""Several tasks' examples as one dataset: stored, sampled, batched."""

__all__: list[str] = []
