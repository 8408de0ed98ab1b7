"""Help of a command with many options: under headings by what a user wants."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

# Options by heading; what begins with one of them belongs to it, as --thermostat-time-constant-fs to --thermostat.
HEADINGS = {
    "Structure": ("format", "index", "units", "topology"),
    "Model": ("model", "random_rotation", "stride_fs", "allow_other_model"),
    "Length": ("steps", "time_ps", "wall_time"),
    "Ensemble": ("temperature_k", "momenta", "thermostat", "pressure_bar", "barostat", "metropolis", "seed", "replica"),
    "Energy": ("energy_model", "rescale_energy", "bias"),
    "Guard": ("guard",),
    "Output": ("trajectory", "interval", "logfile", "report", "json_summary", "progress"),
    "Restart": ("checkpoint", "resume"),
    "Hardware": ("device", "threads", "kernels"),
    "Command": ("config", "save_config", "dry_run", "help"),
}


class GroupedCommand(TyperCommand):
    """A command that shows its options under :data:`HEADINGS`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options of each heading."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *HEADINGS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups[heading(parameter)].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def heading(parameter: Any) -> str:
    """The heading of a parameter."""
    if parameter.param_type_name == "argument":
        return "Arguments"
    own = [name for name, options in HEADINGS.items() if parameter.name in options]
    found = own or [
        name for name, options in HEADINGS.items() if any(parameter.name.startswith(f"{o}_") for o in options)
    ]
    return found[0]
