"""Partly occupied sites of crystals: no run begins with them."""

import ase.io
import pytest

from flashmd_rs import InputError, read_structure, rollout

CIF = """data_x
_cell_length_a 5
_cell_length_b 5
_cell_length_c 5
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
O1 O 0 0 0 {0}
D1 {1} 0.2 0 0 1.0
H2 H 0 0.2 0 1.0
"""


@pytest.mark.parametrize("read", [ase.io.read, read_structure])
def test_partly_occupied_sites(tmp_path, models, read):
    (tmp_path / "a.cif").write_text(CIF.format("1.0", "H"))
    options = {"steps": 1, "temperature_K": 300, "guard": "off", "progress": False}
    rollout(read(tmp_path / "a.cif"), models("free_flight"), **options)
    (tmp_path / "a.cif").write_text(CIF.format("0.5", "H"))
    with pytest.raises(InputError, match=r"partly occupied sites \(O 0.5\)"):
        rollout(read(tmp_path / "a.cif"), models("free_flight"), **options)


def test_other_notes_of_that_name(tmp_path, models):
    atoms = read_structure("water258")[:3]
    atoms.set_masses([15.999, 1.008, 1.008])
    for note in ({"a": 0.5}, {"a": {}}, {"a": {"O": "half"}}, 0.5, "half"):
        atoms.info["occupancy"] = note
        rollout(atoms, models("free_flight"), steps=1, temperature_K=300, guard="off", progress=False)
