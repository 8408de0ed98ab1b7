"""``python -m flashmd_train``, which is what ``torchrun`` starts."""

from flashmd_train.cli import app

app()
