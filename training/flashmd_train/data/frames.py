"""Stored segments as the ASE frames that metatrain trains its FlashMD models on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from flashmd_train.data.segments import Segments

# A stride may miss a multiple of the frame spacing by this much, relatively.
TOLERANCE = 1e-6


def frames(data: Path, stride_fs: float, midpoint: bool = False) -> Iterator[Atoms]:
    """One frame per stride that fits into a segment, end to end; unwrapped positions (Å), momenta (√(eV·u)).

    For ``experimental.flashmd`` a frame is the start of its stride, with arrays ``future_positions`` and
    ``future_momenta`` of its end. For ``experimental.flashmd_symplectic``, ``midpoint``, it is the mean of both ends,
    where the action is differentiated (arXiv 2508.01068), with the differences of the ends as ``delta_positions`` and
    ``delta_momenta``.

    Raises:
        ValueError: the stride is no multiple of the file's spacing, or longer than a segment.
    """
    segments = Segments.load(data)
    jump = round(stride_fs / segments.spacing_fs)
    length = segments.positions.shape[1] - 1
    if not 1 <= jump <= length or abs(jump * segments.spacing_fs - stride_fs) > TOLERANCE * stride_fs:
        raise ValueError(
            f"{data} holds segments of {length * segments.spacing_fs:g} fs every {segments.spacing_fs:g} fs, got a "
            f"stride of {stride_fs:g} fs; wanted a multiple of the spacing within a segment"
        )
    for segment in zip(segments.positions, segments.momenta):
        for now in range(0, length - jump + 1, jump):
            (q, p), (q_next, p_next) = ((x[now] for x in segment), (x[now + jump] for x in segment))
            state = ((q + q_next) / 2, (p + p_next) / 2) if midpoint else (q, p)
            targets = (q_next - q, p_next - p) if midpoint else (q_next, p_next)
            atoms = Atoms(segments.numbers, state[0], cell=segments.cell, pbc=segments.periodic, masses=segments.masses)
            atoms.set_momenta(state[1])
            for name, value in zip(("positions", "momenta"), targets):
                atoms.new_array(f"{'delta' if midpoint else 'future'}_{name}", value)
            yield atoms
