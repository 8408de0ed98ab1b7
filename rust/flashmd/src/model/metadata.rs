//! The metadata of a model: one JSON object under the key `flashmd`.

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::domain::Domain;
use super::fast_forces::FastForces;
use crate::elements;
use crate::error::{Error, Result, one_line};

/// Contract version this crate reads.
pub const CONTRACT: u64 = 1;

/// Longest metadata, bytes.
const LONGEST: usize = 1 << 20;
/// Strides, fs, and masses, u, that a simulation can be made of.
const STRIDES: RangeInclusive<f64> = 1e-3..=1e6;
const MASSES: RangeInclusive<f64> = 1e-3..=1e6;
/// Cutoffs, Å: within the largest an atom of a liquid has 50 000 neighbours.
const CUTOFFS: RangeInclusive<f64> = 0.1..=50.0;
/// Kicks of a splitting stride: each is a run of the network.
const MOST_KICKS: usize = 65;
/// Closest approaches, Å, that the random structure of the load check can be spaced by.
const DISTANCES: RangeInclusive<f64> = 0.0..=100.0;

/// Largest relative difference between an atom's mass and the one the model was trained for.
pub const MASS_TOLERANCE: f64 = 1e-3;

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// New positions and momenta.
    Direct,
    /// A potential energy.
    Energy,
    /// Scalars whose gradients kick, between drifts.
    Splitting,
    /// Scalars whose gradients kick, between swings of known bonds.
    Hybrid,
    /// A generating function of a canonical map.
    Action,
}

impl Kind {
    /// The name in the metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Energy => "energy",
            Self::Splitting => "splitting",
            Self::Hybrid => "hybrid",
            Self::Action => "action",
        }
    }

    /// True if a model of this kind moves atoms.
    pub fn moves(self) -> bool {
        self != Self::Energy
    }
}

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
            return model(format!(
                "`splitting` in the metadata has the kicks {kicks:?} and the drifts {drifts:?}; wanted one more kick than \
                 drifts, at most {MOST_KICKS}, both the same backwards, and drifts that add up to 1"
            ));
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
    /// What swings in the drifts of kind `hybrid`.
    pub fast: Option<FastForces>,
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
}

impl Metadata {
    /// Reads and checks the JSON text.
    ///
    /// # Errors
    /// `Model`, saying which key is wrong.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > LONGEST {
            return model(format!("the metadata is {} bytes long; it may have {LONGEST}", json.len()));
        }
        let not_json = |e: serde_json::Error| {
            let problem = one_line(&e.to_string());
            Error::Model(format!("the metadata under `flashmd` does not fit contract {CONTRACT}: {problem}"))
        };
        // Everything in it has to be sound, the keys for people too: they are read elsewhere.
        let _: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(not_json)?;
        let version: Version = serde_json::from_str(json).map_err(not_json)?;
        match version.contract {
            Some(v) if v.as_u64() == Some(CONTRACT) => {}
            Some(v) => {
                return model(format!(
                    "it follows contract {v}, this version reads contract {CONTRACT}; upgrade flashmd-rs"
                ));
            }
            None => return model(format!("the metadata lacks `contract`; export the model to contract {CONTRACT}")),
        }
        let kind = read_kind(version.kind.as_ref())?;
        let raw: Raw = serde_json::from_str(json).map_err(not_json)?;
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
        };
        metadata.check(raw.stride_fs)?;
        metadata.with_scheme(raw.splitting)?.with_fast(raw.fast)
    }

    fn with_scheme(self, scheme: Option<Scheme>) -> Result<Self> {
        match (self.kind, scheme) {
            (Kind::Splitting | Kind::Hybrid, Some(scheme)) => scheme.check().map(|()| Self { scheme, ..self }),
            (Kind::Splitting | Kind::Hybrid, None) => {
                model(format!("the metadata of a {} model lacks `splitting`, its kicks and drifts", self.kind.name()))
            }
            _ => Ok(self),
        }
    }

    fn with_fast(self, fast: Option<FastForces>) -> Result<Self> {
        match (self.kind, fast) {
            (Kind::Hybrid, Some(fast)) => match fast.fault(self.stride_fs, self.cutoff, &self.species) {
                Some(fault) => model(format!("`fast` in the metadata {fault}")),
                None => Ok(Self { fast: Some(fast), ..self }),
            },
            (Kind::Hybrid, None) => {
                model("the metadata of a hybrid model lacks `fast`, the bonds and angles between its kicks")
            }
            _ => Ok(self),
        }
    }

    fn check(&self, stride_fs: Option<f64>) -> Result<()> {
        within("cutoff_A", self.cutoff, &CUTOFFS)?;
        within("smallest_pair_distance_A", self.domain.closest_approach(), &DISTANCES)?;
        self.domain.check()?;
        match (self.kind, stride_fs) {
            (Kind::Energy, _) => {}
            (kind, None) => return model(format!("the metadata of a {} model lacks `stride_fs`", kind.name())),
            (_, Some(stride)) => within("stride_fs", stride, &STRIDES)?,
        }
        if self.species.is_empty() {
            return model("`species` in the metadata is empty; it must list the chemical symbols the model knows");
        }
        for (at, symbol) in self.species.iter().enumerate() {
            if elements::number(symbol).is_none() {
                return model(format!("`species` in the metadata holds {symbol:?}, which is not a chemical symbol"));
            }
            if self.species[..at].contains(symbol) {
                return model(format!("`species` in the metadata lists {symbol} twice"));
            }
        }
        match &self.masses {
            None if self.kind.moves() => {
                model(format!("the metadata of a {} model lacks `masses_u`", self.kind.name()))
            }
            None => Ok(()),
            Some(masses) if masses.len() != self.species.len() => model(format!(
                "`masses_u` in the metadata has {} entries for {} species; give one per species",
                masses.len(),
                self.species.len()
            )),
            Some(masses) => masses.iter().try_for_each(|&m| within("masses_u", m, &MASSES)),
        }
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
        let known = self.species.join(", ");
        let Some(index) = self.species.iter().position(|s| s == symbol) else {
            return model(format!(
                "atom {atom} is {symbol}, the model knows {known}; use a model trained for {symbol}"
            ));
        };
        if let Some(wanted) = self.masses.as_ref().map(|m| m[index])
            && self.kind.moves()
            && ((mass - wanted) / wanted).abs() > MASS_TOLERANCE
        {
            return model(format!(
                "atom {atom} ({symbol}) has a mass of {mass} u, the model was trained with {wanted} u and holds for that \
                 mass only; set the masses of {symbol} to {wanted}"
            ));
        }
        Ok(index as i32)
    }
}

fn read_kind(kind: Option<&serde_json::Value>) -> Result<Kind> {
    match kind.and_then(|k| k.as_str()) {
        Some("direct") => Ok(Kind::Direct),
        Some("energy") => Ok(Kind::Energy),
        Some("splitting") => Ok(Kind::Splitting),
        Some("action") => Ok(Kind::Action),
        Some("hybrid") => Ok(Kind::Hybrid),
        _ => model(format!(
            "its kind is {}, wanted \"direct\", \"splitting\", \"hybrid\", \"action\" or \"energy\"",
            kind.map_or("missing".into(), ToString::to_string)
        )),
    }
}

fn within(key: &str, value: f64, range: &RangeInclusive<f64>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    model(format!("`{key}` in the metadata is {value:?}; it must be from {} to {}", range.start(), range.end()))
}

fn model<T>(message: impl AsRef<str>) -> Result<T> {
    Err(Error::Model(one_line(message.as_ref())))
}
