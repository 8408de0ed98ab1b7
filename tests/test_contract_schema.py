"""docs/reference/contract.schema.json and the loader agree on what metadata is."""

import json

import jsonschema
import onnx
import pytest

from flashmd_rs import ModelError, _core
from flashmd_rs.bundled import MODELS

from conftest import FIXTURES, TESTS, fixture_model

DOCS = TESTS.parent / "docs" / "reference"
if not (TESTS.parent / "docs").exists():
    pytest.skip("not run from a source tree", allow_module_level=True)
SCHEMA = json.loads((DOCS / "contract.schema.json").read_text())
EXAMPLE = json.loads((DOCS / "contract.example.json").read_text())
GOOD_FILES = [*sorted(FIXTURES.glob("*.onnx")), *sorted(MODELS.glob("*.onnx"))]
DELETE = object()


def schema_refuses(entry):
    return not jsonschema.Draft202012Validator(SCHEMA).is_valid(entry)


def loader_says(entry, name):
    """The loader's refusal of a fixture's graph under other metadata, or None."""
    model = onnx.load(fixture_model(name))
    onnx.helper.set_model_props(model, {"flashmd": json.dumps(entry)})
    try:
        _core.inspect_model(model.SerializeToString())
    except ModelError as error:
        return str(error)
    return None


def metadata_of(path):
    return json.loads(_core.inspect_model(path.read_bytes()))


def with_change(entry, change):
    return {key: value for key, value in (entry | change).items() if value is not DELETE}


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_example_is_accepted_by_both():
    assert not schema_refuses(EXAMPLE)
    assert loader_says(EXAMPLE, "free_flight") is None


@pytest.mark.parametrize("path", GOOD_FILES, ids=lambda path: path.stem)
def test_metadata_of_every_model(path):
    jsonschema.validate(metadata_of(path), SCHEMA, jsonschema.Draft202012Validator)


VERLET = {"kicks": [0, 0], "drifts": [1.0]}
BOND = {"species": ["O", "H"], "constant_eV_per_A2": 39.0, "length_A": 0.96, "longest_A": 1.35}
PUSHING = BOND | {"constant_eV_per_A2": -1.0}
MORSE = BOND | {"species": ["O[H,H]", "H[O]"], "morse_per_A": 2.2}
BEYOND = {"species": ["H", "O", "H"], "constant_eV_per_rad2": 4.3, "angle_rad": 4.0}
FAST = {"inner_fs": 0.5, "bonds": [BOND]}
TABLE = {"species": ["O", "H"], "energies_eV": [1.0, 0.5, 0.0], "slopes_eV_per_A": [-1.0, -1.0, 0.0]}
TERM = {"species": ["O", "H"], "coefficient_eV_A3": 0.05}
ENDLESS = TERM | {"coefficient_eV_A3": 1e9}
FIELD = {"pairs": [TERM], "triples": [{"species": ["O", "H", "H"], "coefficient_eV_A6": -2.0}]}
PAIRS = {"step_fs": 0.5, "first_A": 1.0, "spacing_A": 0.5, "tables": [TABLE]}


def hybrid(*bonds):
    """Metadata of a hybrid with these bonds."""
    return {"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"bonds": list(bonds)}}


def pulled(**change):
    """Metadata of a hybrid with pair forces that are changed."""
    return {"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"pairs": PAIRS | change}}


def driven(**change):
    """Metadata of a driven model with something changed."""
    return with_change({"contract": 4, "kind": "driven", "fast": FAST, "legendre_orders": 3}, change)


# Change to good metadata of a direct model, and a word of the loader's message.
REFUSED = {
    "no_contract": ({"contract": DELETE}, "contract"),
    "contract_5": ({"contract": 5}, "contract 5"),
    "contract_in_words": ({"contract": "1"}, "contract"),
    "no_kind": ({"kind": DELETE}, "kind"),
    "unknown_kind": ({"kind": "oracle"}, "oracle"),
    "no_fast": ({"kind": "hybrid", "splitting": VERLET}, "lacks `fast`"),
    "no_bonds": ({"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"bonds": []}}, "names no bonds"),
    "no_inner_step": ({"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"inner_fs": 0}}, "inner_fs"),
    "bond_in_words": ({"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"bonds": ["O-H"]}}, "flashmd"),
    "bond_that_pushes": ({"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"bonds": [PUSHING]}}, "has the bond"),
    "environments_of_contract_2": ({"contract": 2} | hybrid(MORSE), "need contract 3"),
    "morse_of_contract_1": (hybrid(BOND | {"morse_per_A": 2.2}), "need contract 3"),
    "morse_that_grows": ({"contract": 3} | hybrid(MORSE | {"morse_per_A": -2.2}), "has the bond"),
    "angle_beyond": ({"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"angles": [BEYOND]}}, "has the angle"),
    "pairs_without_a_step": (pulled(step_fs=0), "step_fs"),
    "pairs_from_nowhere": (pulled(first_A=0), "first_A"),
    "mollified_in_words": ({"kind": "hybrid", "splitting": VERLET, "fast": FAST | {"mollified": "yes"}}, "flashmd"),
    "no_tables": (pulled(tables=[]), "unsound tables"),
    "table_of_one": (pulled(tables=[TABLE | {"energies_eV": [0.0], "slopes_eV_per_A": [0.0]}]), "unsound tables"),
    "mean_field_of_contract_1": ({"kind": "energy", "mean_field": FIELD}, "needs contract 2"),
    "mean_field_of_a_stride": ({"contract": 2, "mean_field": FIELD}, "for models of kind energy"),
    "mean_field_in_words": ({"contract": 2, "kind": "energy", "mean_field": "yes"}, "flashmd"),
    "endless_mean_field": ({"contract": 2, "kind": "energy", "mean_field": {"pairs": [ENDLESS]}}, "has the term"),
    "driven_of_contract_3": (driven(contract=3), "needs contract 4"),
    "driven_without_bonds": (driven(fast=DELETE), "lacks `fast`"),
    "driven_without_orders": (driven(legendre_orders=DELETE), "lacks `legendre_orders`"),
    "no_orders": (driven(legendre_orders=0), "legendre_orders"),
    "too_many_orders": (driven(legendre_orders=33), "legendre_orders"),
    "half_an_order": (driven(legendre_orders=2.5), "flashmd"),
    "driven_and_pulled": (driven(fast=FAST | {"pairs": PAIRS}), "models of kind hybrid"),
    "driven_and_mollified": (driven(fast=FAST | {"mollified": True}), "models of kind hybrid"),
    "no_scheme": ({"kind": "splitting"}, "lacks `splitting`"),
    "kick_in_words": ({"kind": "splitting", "splitting": {"kicks": ["W"], "drifts": []}}, "flashmd"),
    "no_drifts": ({"kind": "splitting", "splitting": {"kicks": [0]}}, "drifts"),
    "no_cutoff": ({"cutoff_A": DELETE}, "cutoff_A"),
    "negative_cutoff": ({"cutoff_A": -6.0}, "cutoff_A"),
    "zero_cutoff": ({"cutoff_A": 0}, "cutoff_A"),
    "wide_cutoff": ({"cutoff_A": 1e9}, "from 0.1 to 50"),
    "denormal_cutoff": ({"cutoff_A": 5e-324}, "from 0.1 to 50"),
    "endless_stride": ({"stride_fs": 1e300}, "from 0.001 to 1000000"),
    "tiny_mass": ({"masses_u": [1e-300, 1.0]}, "from 0.001 to 1000000"),
    "distance_of_a_star": ({"domain": {"smallest_pair_distance_A": {"O-H": 1e300}}}, "from 0 to 100"),
    "cutoff_in_words": ({"cutoff_A": "6 Å"}, "flashmd"),
    "no_stride": ({"stride_fs": DELETE}, "stride_fs"),
    "null_stride": ({"stride_fs": None}, "stride_fs"),
    "negative_stride": ({"stride_fs": -1.0}, "stride_fs"),
    "no_species": ({"species": DELETE}, "species"),
    "empty_species": ({"species": []}, "species"),
    "not_an_element": ({"species": ["O", "Xx"]}, "Xx"),
    "species_twice": ({"species": ["O", "O"]}, "twice"),
    "no_masses": ({"masses_u": DELETE}, "masses_u"),
    "null_masses": ({"masses_u": None}, "masses_u"),
    "no_mass": ({"masses_u": []}, "masses_u"),
    "negative_mass": ({"masses_u": [-16.0, 1.0]}, "masses_u"),
    "equivariant_in_words": ({"equivariant": "yes"}, "flashmd"),
    "distance_in_words": ({"domain": {"smallest_pair_distance_A": {"O-H": "near"}}}, "flashmd"),
    "negative_distance": ({"domain": {"smallest_pair_distance_A": {"O-H": -1.0}}}, "smallest_pair_distance_A"),
    "one_temperature": ({"domain": {"temperature_K": [300.0]}}, "flashmd"),
    "negative_temperature": ({"domain": {"temperature_K": [-3.0, 300.0]}}, "temperature_K"),
    "negative_uncertainty": ({"domain": {"largest_uncertainty": [-0.1, 0.1]}}, "largest_uncertainty"),
    "negative_neighbor_count": ({"domain": {"smallest_neighbor_count": -1}}, "flashmd"),
    "bonds_without_a_length": ({"domain": {"bonds": [{"species": ["O", "H"], "counts": [2, 1]}]}}, "flashmd"),
    "bonds_as_long_as_a_cutoff": (
        {"domain": {"bonds": [{"species": ["O", "H"], "longest_A": 6.0, "counts": [2, 1]}]}},
        "bonds",
    ),
    "half_a_bond": (
        {"domain": {"bonds": [{"species": ["O", "H"], "longest_A": 1.3, "counts": [2, 0.5]}]}},
        "flashmd",
    ),
    "domain_is_a_list": ({"domain": 3}, "flashmd"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_both(case):
    change, word = REFUSED[case]
    entry = with_change(EXAMPLE, change)
    assert schema_refuses(entry)
    message = loader_says(entry, "free_flight")
    assert message is not None
    assert word in message


# What JSON Schema cannot compare.
ODD_PAIRS = {
    "strangers": ({"tables": [TABLE | {"species": ["O", "Ar"]}]}, "unsound tables"),
    "jump_at_the_end": ({"tables": [TABLE | {"slopes_eV_per_A": [-1.0, -1.0, -1.0]}]}, "unsound tables"),
    "uneven": ({"tables": [TABLE | {"energies_eV": [1.0, 0.0]}]}, "unsound tables"),
    "twice": ({"tables": [TABLE, TABLE | {"species": ["H", "O"]}]}, "twice"),
    "beyond_the_cutoff": ({"spacing_A": 40.0}, "at most cutoff_A"),
    "faster_than_bonds": ({"step_fs": 0.1}, "at least inner_fs"),
}


@pytest.mark.parametrize("case", ODD_PAIRS)
def test_pairs_that_only_the_loader_refuses(case):
    change, word = ODD_PAIRS[case]
    entry = with_change(EXAMPLE, pulled(**change))
    assert not schema_refuses(entry)
    assert word in loader_says(entry, "free_flight")


ODD_BONDS = {
    "environment_of_a_stranger": ([MORSE | {"species": ["C[H]", "H[C]"]}], "has the bond"),
    "two_for_the_same_atoms": ([MORSE, BOND], "two entries for the same atoms"),
    "the_same_backwards": ([MORSE, MORSE | {"species": ["H[O]", "O[H,H]"]}], "two entries for the same atoms"),
}


@pytest.mark.parametrize("case", ODD_BONDS)
def test_bonds_that_only_the_loader_refuses(case):
    bonds, word = ODD_BONDS[case]
    entry = with_change(EXAMPLE, {"contract": 3} | hybrid(*bonds))
    assert not schema_refuses(entry)
    assert word in loader_says(entry, "free_flight")


def test_masses_of_another_length_are_the_loaders_to_refuse():
    """JSON Schema cannot compare two lengths."""
    entry = EXAMPLE | {"masses_u": [15.999]}
    assert not schema_refuses(entry)
    assert "1 entries for 2 species" in loader_says(entry, "free_flight")


def test_an_energy_model_needs_neither_stride_nor_masses():
    entry = with_change(EXAMPLE, {"kind": "energy", "stride_fs": DELETE, "masses_u": DELETE})
    assert not schema_refuses(entry)
    assert loader_says(entry, "pair_energy") is None


def test_an_energy_model_of_contract_2_may_have_a_mean_field():
    entry = EXAMPLE | {"contract": 2, "kind": "energy", "mean_field": FIELD}
    assert not schema_refuses(entry)
    assert loader_says(entry, "pair_energy") is None
    stranger = entry | {"mean_field": {"pairs": [TERM | {"species": ["O", "Ar"]}]}}
    assert not schema_refuses(stranger)
    assert "has the term" in loader_says(stranger, "pair_energy")
