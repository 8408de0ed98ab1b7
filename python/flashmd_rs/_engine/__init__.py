"""The machinery behind :class:`flashmd_rs.Simulation`: settings, inputs of the core, files, checkpoints, the run."""
