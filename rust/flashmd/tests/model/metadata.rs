//! The metadata, and the atoms that fit them.

use std::f64::consts::PI;

use flashmd::Error;
use flashmd::error::ModelFault;
use flashmd::model::{Contract, Metadata};
use flashmd::state::{Cell, State};

use crate::protobuf::{File, METADATA};
use crate::refused;

/// The metadata with `from` replaced by `to` are refused for a reason that matches the pattern.
macro_rules! refused_with {
    ($from:expr => $to:expr, $pattern:pat $(if $guard:expr)?) => {
        refused!(File::with_metadata($from, $to), $pattern $(if $guard)?)
    };
}

#[test]
fn the_version_and_the_kind_are_checked() {
    refused_with!("\"contract\": 1" => "\"contract\": 5", ModelFault::OtherContract { got, oldest: 1, newest: 4 } if got == "5");
    refused_with!("\"contract\": 1" => "\"contract\": \"1\"", ModelFault::OtherContract { got, .. } if got == "\"1\"");
    refused_with!("\"contract\": 1, " => "", ModelFault::NoContract { wanted: 4 });
    refused_with!("direct" => "oracle", ModelFault::UnknownKind { got, .. } if got == "\"oracle\"");
    refused_with!("\"kind\": \"direct\", " => "", ModelFault::UnknownKind { got, .. } if got == "missing");
}

#[test]
fn keys_that_a_kind_needs_must_be_there() {
    refused_with!("direct" => "splitting", ModelFault::MissingKey { kind: "splitting", key: "splitting", .. });
    refused_with!("direct" => "hybrid", ModelFault::MissingKey { kind: "hybrid", key: "splitting", .. });
    refused_with!("\"stride_fs\": 16.0, " => "", ModelFault::MissingKey { kind: "direct", key: "stride_fs", .. });
    refused_with!("\"masses_u\": [1.008, 15.999], " => "", ModelFault::MissingKey { key: "masses_u", .. });
    let scheme = "\"kind\": \"hybrid\", \"splitting\": {\"kicks\": [0, 0], \"drifts\": [1.0]}";
    refused_with!("\"kind\": \"direct\"" => scheme, ModelFault::MissingKey { kind: "hybrid", key: "fast", .. });
    let lopsided = "\"kind\": \"splitting\", \"splitting\": {\"kicks\": [0, 1], \"drifts\": [1.0]}";
    refused_with!("\"kind\": \"direct\"" => lopsided, ModelFault::UnsoundSplitting { .. });
}

#[test]
fn numbers_must_be_within_what_a_simulation_can_be_made_of() {
    for (key, from, values) in [
        ("stride_fs", "16.0", &["0.0", "-2", "1e300"][..]),
        ("cutoff_A", "5.0", &["-5.0", "0", "5e-324", "1e9", "1e308"]),
        ("masses_u", "15.999", &["-1", "1e-300", "1e300"]),
    ] {
        for text in values {
            let number: f64 = text.parse().unwrap();
            refused_with!(from => text, ModelFault::OutOfRange { key: got, value, .. } if (got, value) == (key, number));
        }
    }
    let distance = "false, \"domain\": {\"smallest_pair_distance_A\": {\"H-H\": 1e308}}";
    refused_with!("false" => distance, ModelFault::OutOfRange { key: "smallest_pair_distance_A", .. });
    let density = "false, \"domain\": {\"density_g_per_cm3\": [-1, 1]}";
    refused_with!("false" => density, ModelFault::UnsoundDomain { key: "density_g_per_cm3", .. });
}

#[test]
fn bonds_must_be_between_species_of_the_model() {
    let with = |bond: &str| format!("false, \"domain\": {{\"bonds\": [{bond}]}}");
    let sound = r#"{"species": ["O", "H"], "longest_A": 1.35, "counts": [2, 1]}"#;
    assert_eq!(
        Contract::read(&File::with_metadata("false", &with(sound)).bytes()).unwrap().metadata.domain.bonds[0].counts,
        [2, 1]
    );
    for bond in [
        r#"{"species": ["O", "C"], "longest_A": 1.35, "counts": [2, 1]}"#,
        r#"{"species": ["O", "H"], "longest_A": -1.0, "counts": [2, 1]}"#,
        r#"{"species": ["O", "H"], "longest_A": 1e9, "counts": [2, 1]}"#,
        r#"{"species": ["O", "O"], "longest_A": 1.5, "counts": [2, 1]}"#,
    ] {
        refused_with!("false" => &with(bond), ModelFault::UnsoundBonds { .. });
    }
    refused_with!("false" => &with(r#"{"species": ["O"], "longest_A": 1.5, "counts": [2, 1]}"#), ModelFault::MalformedMetadata { .. });
}

#[test]
fn species_must_be_elements_with_a_mass_each() {
    refused_with!("[\"H\", \"O\"]" => "[]", ModelFault::NoSpecies);
    for symbol in ["Xx", "X"] {
        let quoted = format!("{symbol:?}");
        refused_with!("\"O\"" => &quoted, ModelFault::NotAnElement { symbol: got } if got == symbol);
    }
    refused_with!("\"O\"" => "\"H\"", ModelFault::DuplicateSpecies { symbol } if symbol == "H");
    refused_with!("[1.008, 15.999]" => "[1.008]", ModelFault::MassCount { masses: 1, species: 2 });
}

#[test]
fn text_that_does_not_fit_the_contract_is_refused() {
    for (from, to, problem) in [
        ("16.0", "1e999", ""),
        ("16.0", "\"16\"", ""),
        ("5.0", "NaN", ""),
        ("5.0", "Infinity", ""),
        ("\"cutoff_A\": 5.0, ", "", "missing field `cutoff_A`"),
        ("5.0", "5.0, \"cutoff_A\": 6.0", "duplicate field `cutoff_A`"),
        ("\"colour\": \"", "\"colour\": 1e999, \"more\": \"", ""),
        ("\"colour\": \"", "\"colour\": \"\\ud800", ""),
        ("{", "{{", ""),
    ] {
        refused_with!(from => to, ModelFault::MalformedMetadata { problem: got } if got.contains(problem));
    }
}

#[test]
fn messages_say_what_was_got_what_was_wanted_and_what_to_do() {
    for (from, to, message) in [
        (
            "\"contract\": 1",
            "\"contract\": 5",
            "it follows contract 5, this version reads contracts 1 to 4; upgrade flashmd-rs",
        ),
        ("5.0", "1e9", "`cutoff_A` in the metadata is 1000000000.0; it must be from 0.1 to 50"),
        ("direct", "splitting", "the metadata of a splitting model lacks `splitting`, its kicks and drifts"),
        (
            "direct",
            "oracle",
            "its kind is \"oracle\", wanted \"direct\", \"splitting\", \"hybrid\", \"action\", \"energy\" or \"driven\"",
        ),
        ("\"O\"", "\"Xx\"", "`species` in the metadata holds \"Xx\", which is not a chemical symbol"),
    ] {
        let error = Contract::read(&File::with_metadata(from, to).bytes()).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.in_model("a.onnx").in_model("b.onnx").to_string(), format!("a.onnx: {message}"));
    }
    assert_eq!(ModelFault::NoContract { wanted: 4 }.name(), "NoContract");
    assert_eq!(ModelFault::CutOff.name(), "CutOff");
}

/// The metadata of an energy model of contract 2 with these pairs and triples of a mean field.
fn with_mean_field(pairs: &str, triples: &str) -> String {
    METADATA.replace("\"contract\": 1, \"kind\": \"direct\"", "\"contract\": 2, \"kind\": \"energy\"").replace(
        "\"equivariant\"",
        &format!("\"mean_field\": {{\"pairs\": [{pairs}], \"triples\": [{triples}]}}, \"equivariant\""),
    )
}

const PAIR: &str = r#"{"species": ["O", "H"], "coefficient_eV_A3": 0.5}"#;
const TRIPLE: &str = r#"{"species": ["O", "H", "O"], "coefficient_eV_A6": 0.5}"#;

#[test]
fn a_mean_field_is_for_energy_models_of_contract_2_and_of_their_species() {
    let sound = with_mean_field(PAIR, TRIPLE);
    assert!(Metadata::parse(&sound).is_ok());
    for json in [
        sound.replace("\"contract\": 2", "\"contract\": 1"),
        sound.replace("energy", "direct"),
        with_mean_field(&PAIR.replace("\"O\"", "\"C\""), ""),
        with_mean_field(&PAIR.replace("0.5", "1e7"), ""),
        with_mean_field(PAIR, &TRIPLE.replace("\"H\"", "\"C\"")),
        with_mean_field(PAIR, &TRIPLE.replace("0.5", "-1e10")),
    ] {
        let error = Metadata::parse(&json).unwrap_err();
        assert!(matches!(error, Error::Model { fault: ModelFault::UnsoundMeanField { .. }, .. }), "{json}: {error:?}");
    }
}

fn oxygens(length: f64, pbc: [bool; 3]) -> State {
    let cell = Cell::new([[length, 0.0, 0.0], [0.0, length, 0.0], [0.0, 0.0, length]], pbc).unwrap();
    let positions = (0..27).map(|k| [f64::from(k), 0.0, 0.0]).collect();
    State::new(positions, vec![[0.0; 3]; 27], vec![16.0; 27], vec![8; 27], cell).unwrap()
}

#[test]
fn a_pair_term_is_the_lennard_jones_energy_beyond_the_cutoff_and_of_the_step_at_it() {
    let (epsilon, sigma, cutoff, length) = (0.0066, 3.15, 6.0, 20.0);
    let coefficient = -16.0 * PI * epsilon * f64::powi(sigma, 6) / (3.0 * f64::powi(cutoff, 3));
    let pair = format!(r#"{{"species": ["O", "O"], "coefficient_eV_A3": {coefficient}}}"#);
    let mean_field = Metadata::parse(&with_mean_field(&pair, "")).unwrap().mean_field.unwrap();
    // By quadrature: ½ρ∫ u 4πr² dr beyond the cutoff, and as much for u(r_c) within it, at g = 1.
    let density = 27.0 / f64::powi(length, 3);
    let u = |r: f64| -4.0 * epsilon * (sigma / r).powi(6);
    let step = 0.01;
    let shell = |k: i32| cutoff + step * (f64::from(k) + 0.5);
    let beyond: f64 = (0..100_000).map(shell).map(|r| 2.0 * PI * density * u(r) * r * r * step).sum();
    let within = 2.0 * PI * density * u(cutoff) * cutoff.powi(3) / 3.0;
    let (energy, virial) = mean_field.energy_and_virial(&oxygens(length, [true; 3]));
    let wanted = 27.0 * (beyond + within);
    assert!((energy - wanted).abs() < 1e-4 * wanted.abs(), "{energy} {wanted}");
    assert_eq!(energy, virial);
    assert_eq!(mean_field.energy_and_virial(&oxygens(length, [true, true, false])), (0.0, 0.0));
}

#[test]
fn the_virial_of_a_mean_field_is_the_volume_derivative_of_its_energy() {
    let (pair, triple) = (PAIR.replace("\"H\"", "\"O\""), TRIPLE.replace("\"H\"", "\"O\""));
    let mean_field = Metadata::parse(&with_mean_field(&pair, &triple)).unwrap().mean_field.unwrap();
    let at = |length: f64| mean_field.energy_and_virial(&oxygens(length, [true; 3]));
    let volume = |length: f64| f64::powi(length, 3);
    let slope = (at(4.001).0 - at(3.999).0) / (volume(4.001) - volume(3.999));
    assert!((at(4.0).1 + slope * volume(4.0)).abs() < 1e-6 * at(4.0).1.abs());
}

#[test]
fn atoms_are_matched_with_species_and_masses() {
    let metadata = Metadata::parse(METADATA).unwrap();
    assert_eq!(metadata.assign(&[8, 1, 1], &[15.999, 1.008, 1.0085]).unwrap(), [1, 0, 0]);
    let fault = |z, m| match metadata.assign(&[8, z], &[15.999, m]).unwrap_err() {
        Error::Model { fault, .. } => fault,
        other => panic!("{other:?}"),
    };
    let known = "H, O".to_owned();
    assert_eq!(fault(6, 12.0), ModelFault::UnknownElement { atom: 1, symbol: "C", known: known.clone() });
    assert_eq!(fault(0, 12.0), ModelFault::UnknownElement { atom: 1, symbol: "X", known });
    assert_eq!(fault(1, 2.014), ModelFault::WrongMass { atom: 1, symbol: "H", mass: 2.014, wanted: 1.008 });
}

#[test]
fn a_million_species_and_deep_json_are_refused_quickly() {
    let start = std::time::Instant::now();
    let species = format!("[{}]", vec!["\"H\""; 100_000].join(", "));
    refused!(File::with_metadata("[\"H\", \"O\"]", &species), ModelFault::DuplicateSpecies { .. });
    let species = format!("[{}]", vec!["\"H\""; 1_000_000].join(", "));
    refused!(File::with_metadata("[\"H\", \"O\"]", &species), ModelFault::MetadataTooLong { .. });
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    refused!(File::with_metadata("\"unknown keys are ignored\"", &deep), ModelFault::MalformedMetadata { problem, .. } if problem.contains("recursion limit"));
    assert!(start.elapsed().as_secs_f64() < 2.0);
}
