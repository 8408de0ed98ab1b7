"""Report of a run: one HTML page with its settings, temperatures, energies, structure, motion and a 3-D view."""

from flashmd_rs.report.read_run import read_run
from flashmd_rs.report.write import write_report

__all__ = ["read_run", "write_report"]
