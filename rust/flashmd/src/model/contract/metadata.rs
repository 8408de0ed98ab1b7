//! The metadata of a model: one JSON object under the key `flashmd`.

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::domain::Domain;
use super::fast_forces::FastForces;
use super::kinds::Kind;
use super::mean_field::MeanField;
use crate::elements;
use crate::error::{ModelFault, Result, one_line};

/// Contract versions this crate reads. The second adds `mean_field`, without which energies would be other ones; the third bonds and
/// angles by environment; the fourth models of kind `driven`.
pub const CONTRACTS: RangeInclusive<u64> = 1..=4;

/// Longest metadata, bytes.
const LONGEST: usize = 1 << 20;
/// Strides, fs, and masses, u, that a simulation can be made of.
const STRIDES: RangeInclusive<f64> = 1e-3..=1e6;
const MASSES: RangeInclusive<f64> = 1e-3..=1e6;
/// Cutoffs, Å: within the largest an atom of a liquid has 50 000 neighbours.
const CUTOFFS: RangeInclusive<f64> = 0.1..=50.0;
/// Kicks of a splitting stride: each is a run of the network.
const MOST_KICKS: usize = 65;
/// Legendre polynomials of a slow force.
const ORDERS: RangeInclusive<f64> = 1.0..=32.0;
/// Contract from which models may be driven.
const DRIVEN_SINCE: u64 = 4;
/// Closest approaches, Å, that the random structure of the load check can be spaced by.
const DISTANCES: RangeInclusive<f64> = 0.0..=100.0;

/// Largest relative difference between an atom's mass and the one the model was trained for.
pub const MASS_TOLERANCE: f64 = 1e-3;

/// The order of a `splitting` or `hybrid` stride: kick, drift, kick, …, kick.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Scheme {
    /// Number of the scalar of each kick, which acts for a whole stride.
    pub kicks: Vec<usize>,
    /// Share of the stride of each drift.
    pub drifts: Vec<f64>,
}

impl Default for Scheme {
    /// One scalar.
    fn default() -> Self {
        Self { kicks: vec![0], drifts: Vec::new() }
    }
}

impl Scheme {
    /// How many scalars the model has.
    pub fn scalars(&self) -> usize {
        self.kicks.iter().max().map_or(1, |&last| last + 1)
    }

    fn check(&self) -> Result<()> {
        let Self { kicks, drifts } = self;
        let palindromic = kicks.iter().eq(kicks.iter().rev()) && drifts.iter().eq(drifts.iter().rev());
        let total: f64 = drifts.iter().sum();
        if kicks.len() != drifts.len() + 1
            || kicks.len() > MOST_KICKS
            || self.scalars() > kicks.len()
            || !palindromic
            || !(1.0 - 1e-6..=1.0 + 1e-6).contains(&total)
        {
            let (kicks, drifts) = (kicks.clone(), drifts.clone());
            return Err(ModelFault::UnsoundSplitting { kicks, drifts, most: MOST_KICKS }.into());
        }
        Ok(())
    }
}

/// The checked part of the metadata; unknown keys are ignored.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// What the model predicts.
    pub kind: Kind,
    /// Length of a stride, fs; 0 for kinds that do not move atoms.
    pub stride_fs: f64,
    /// Largest edge length, Å.
    pub cutoff: f64,
    /// Chemical symbols by species index.
    pub species: Vec<String>,
    /// Masses by species index, u; always there for kinds that move atoms.
    pub masses: Option<Vec<f64>>,
    /// True if the graph itself is O(3)-equivariant.
    pub equivariant: bool,
    /// What it was trained on.
    pub domain: Domain,
    /// Order of kicks and drifts; one scalar for other kinds than `splitting` and `hybrid`.
    pub scheme: Scheme,
    /// The bonded forces of kind `driven`, and those and pair forces of the drifts of kind `hybrid`.
    pub fast: Option<FastForces>,
    /// Legendre polynomials of the slow forces of kind `driven`; 0 of other kinds.
    pub legendre_orders: usize,
    /// What kind `energy` adds to the energies of the network.
    pub mean_field: Option<MeanField>,
}

#[derive(Deserialize)]
struct Version {
    contract: Option<serde_json::Value>,
    kind: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[allow(non_snake_case)] // the keys of the contract carry their units
struct Raw {
    stride_fs: Option<f64>,
    cutoff_A: f64,
    species: Vec<String>,
    masses_u: Option<Vec<f64>>,
    #[serde(default)]
    equivariant: bool,
    #[serde(default)]
    domain: Domain,
    splitting: Option<Scheme>,
    fast: Option<FastForces>,
    legendre_orders: Option<usize>,
    mean_field: Option<MeanField>,
}

impl Metadata {
    /// Reads and checks the JSON text.
    ///
    /// # Errors
    /// `Model`, saying which key is wrong.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > LONGEST {
            return Err(ModelFault::MetadataTooLong { bytes: json.len(), most: LONGEST }.into());
        }
        let malformed = |e: serde_json::Error| ModelFault::MalformedMetadata { problem: one_line(&e.to_string()) };
        // Everything in it has to be sound, the keys for people too: they are read elsewhere.
        let _: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(malformed)?;
        let version: Version = serde_json::from_str(json).map_err(malformed)?;
        let contract = read_contract(version.contract.as_ref())?;
        let kind = read_kind(version.kind.as_ref())?;
        let raw: Raw = serde_json::from_str(json).map_err(malformed)?;
        let metadata = Self {
            kind,
            stride_fs: raw.stride_fs.unwrap_or(0.0),
            cutoff: raw.cutoff_A,
            species: raw.species,
            masses: raw.masses_u,
            equivariant: raw.equivariant,
            domain: raw.domain,
            scheme: Scheme::default(),
            fast: None,
            legendre_orders: 0,
            mean_field: raw.mean_field,
        };
        metadata.check(raw.stride_fs)?;
        metadata.check_mean_field(contract)?;
        metadata
            .with_scheme(raw.splitting)?
            .with_fast_forces(contract, raw.fast)?
            .with_slow_forces(contract, raw.legendre_orders)
    }

    fn with_scheme(self, scheme: Option<Scheme>) -> Result<Self> {
        if !self.kind.spec().has_kicks {
            return Ok(self);
        }
        let scheme = scheme.ok_or_else(|| self.lacks("splitting", ", its kicks and drifts"))?;
        scheme.check()?;
        Ok(Self { scheme, ..self })
    }

    fn with_fast_forces(self, contract: u64, fast: Option<FastForces>) -> Result<Self> {
        if !self.kind.spec().has_fast_forces {
            return Ok(self);
        }
        let fast = fast.ok_or_else(|| self.lacks("fast", ", its bonds and angles"))?;
        match fast.problem(contract, self.stride_fs, self.cutoff, &self.species) {
            Some(problem) => Err(ModelFault::UnsoundFastForces { problem }.into()),
            None => Ok(Self { fast: Some(fast), ..self }),
        }
    }

    fn with_slow_forces(self, contract: u64, orders: Option<usize>) -> Result<Self> {
        if !self.kind.spec().has_slow_forces {
            return Ok(self);
        }
        let unsound = |problem: String| Err(ModelFault::UnsoundFastForces { problem }.into());
        if contract < DRIVEN_SINCE {
            return unsound(format!(
                "is of a driven model, which needs contract {DRIVEN_SINCE}; the file says {contract}"
            ));
        }
        if self.fast.as_ref().is_some_and(|fast| fast.pairs.is_some() || fast.mollified) {
            return unsound("has pairs or is mollified, which is for models of kind hybrid".into());
        }
        let legendre_orders = orders.ok_or_else(|| self.lacks("legendre_orders", ", of its slow forces"))?;
        within("legendre_orders", legendre_orders as f64, &ORDERS)?;
        Ok(Self { legendre_orders, ..self })
    }

    /// True if strides want their frame turned at random: the network's symmetry is learned, and no scalar is conserved.
    pub fn wants_rotation(&self) -> bool {
        self.kind.spec().frame_may_turn && !self.equivariant
    }

    fn lacks(&self, key: &'static str, meaning: &'static str) -> ModelFault {
        ModelFault::MissingKey { kind: self.kind.name(), key, meaning }
    }

    fn check(&self, stride_fs: Option<f64>) -> Result<()> {
        within("cutoff_A", self.cutoff, &CUTOFFS)?;
        within("smallest_pair_distance_A", self.domain.closest_approach(), &DISTANCES)?;
        if self.kind.spec().moves_atoms {
            let stride_fs = stride_fs.ok_or_else(|| self.lacks("stride_fs", ""))?;
            within("stride_fs", stride_fs, &STRIDES)?;
        }
        self.check_species()?;
        self.domain.validate(&self.species)?;
        match &self.masses {
            None if self.kind.spec().moves_atoms => Err(self.lacks("masses_u", "").into()),
            None => Ok(()),
            Some(masses) if masses.len() != self.species.len() => {
                Err(ModelFault::MassCount { masses: masses.len(), species: self.species.len() }.into())
            }
            Some(masses) => masses.iter().try_for_each(|&m| within("masses_u", m, &MASSES)),
        }
    }

    fn check_mean_field(&self, contract: u64) -> Result<()> {
        let Some(mean_field) = &self.mean_field else { return Ok(()) };
        let problem = match self.kind {
            _ if contract < 2 => Some(format!("needs contract 2; the file says {contract}")),
            Kind::Energy => mean_field.problem(&self.species),
            other => Some(format!("is for models of kind energy; this one is of kind {}", other.name())),
        };
        problem.map_or(Ok(()), |problem| Err(ModelFault::UnsoundMeanField { problem }.into()))
    }

    fn check_species(&self) -> Result<()> {
        if self.species.is_empty() {
            return Err(ModelFault::NoSpecies.into());
        }
        for (index, symbol) in self.species.iter().enumerate() {
            let symbol = || symbol.clone();
            if elements::number(&symbol()).is_none() {
                return Err(ModelFault::NotAnElement { symbol: symbol() }.into());
            }
            if self.species[..index].contains(&symbol()) {
                return Err(ModelFault::DuplicateSpecies { symbol: symbol() }.into());
            }
        }
        Ok(())
    }

    /// Index into `species` of each atom.
    ///
    /// # Errors
    /// `Model` for an element the model does not know, or a mass it was not trained for.
    pub fn assign(&self, numbers: &[u8], masses: &[f64]) -> Result<Vec<i32>> {
        numbers.iter().zip(masses).enumerate().map(|(atom, (&z, &mass))| self.assign_one(atom, z, mass)).collect()
    }

    fn assign_one(&self, atom: usize, number: u8, mass: f64) -> Result<i32> {
        let symbol = elements::symbol(number);
        let Some(index) = self.species.iter().position(|s| s == symbol) else {
            let known = self.species.join(", ");
            return Err(ModelFault::UnknownElement { atom, symbol, known }.into());
        };
        if let Some(wanted) = self.masses.as_ref().map(|m| m[index])
            && self.kind.spec().moves_atoms
            && ((mass - wanted) / wanted).abs() > MASS_TOLERANCE
        {
            return Err(ModelFault::WrongMass { atom, symbol, mass, wanted }.into());
        }
        Ok(index as i32)
    }
}

fn read_contract(contract: Option<&serde_json::Value>) -> Result<u64> {
    let (oldest, newest) = (*CONTRACTS.start(), *CONTRACTS.end());
    match contract.map(|v| (v, v.as_u64())) {
        Some((_, Some(version))) if CONTRACTS.contains(&version) => Ok(version),
        Some((got, _)) => Err(ModelFault::OtherContract { got: got.to_string(), oldest, newest }.into()),
        None => Err(ModelFault::NoContract { wanted: newest }.into()),
    }
}

fn read_kind(kind: Option<&serde_json::Value>) -> Result<Kind> {
    kind.and_then(|k| k.as_str()).and_then(Kind::of_name).ok_or_else(|| {
        let got = kind.map_or("missing".into(), ToString::to_string);
        ModelFault::UnknownKind { got: one_line(&got), known: Kind::list() }.into()
    })
}

fn within(key: &'static str, value: f64, range: &RangeInclusive<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ModelFault::OutOfRange { key, value, least: *range.start(), most: *range.end() }.into())
}
