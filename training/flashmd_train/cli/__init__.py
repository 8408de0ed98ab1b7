"""``flashmd-train``: one command per step, from the reference simulation to the model file."""

from __future__ import annotations

import typer

from flashmd_train.cli import data, export, fit, label, studies, workflow
from flashmd_train.cli.errors import plain_errors

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (
    workflow.fit,
    data.generate,
    data.check,
    data.structure,
    data.frames,
    label.label,
    fit.config,
    fit.bonded,
    fit.direct,
    fit.splitting,
    fit.energy,
    fit.action,
    export.export,
    export.pressure,
    export.restamp,
    studies.study,
    studies.ranking,
    studies.active,
    studies.learning_curve,
    studies.networks,
    studies.against_metatrain,
):
    app.command()(plain_errors()(command))
