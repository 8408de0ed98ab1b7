"""From a potential to a model with its card, by one command: :func:`~flashmd_train.workflow.fit.fit`."""
