"""Strides inside other programs: each adapter is thin, over :class:`flashmd_rs.Simulation`."""
