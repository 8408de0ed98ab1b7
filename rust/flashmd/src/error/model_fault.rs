//! Faults of models: what can be wrong with a file, its metadata, its graph, or the atoms it is given.

use std::fmt;

/// Why a file is not a model, breaks the contract, or does not fit the atoms.
///
/// Text from the file is quoted or shortened where it enters; a message is made fit for a terminal where it is shown.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the variants and their fields are")]
pub enum ModelFault {
    // The file.
    #[error("it is {bytes} bytes long; a model may have {most}")]
    TooLarge { bytes: usize, most: usize },
    #[error("it is not an ONNX file ({problem}); give a model exported by flashmd_train")]
    NotOnnx { problem: String },
    #[error("it is not an ONNX file, or cut off; give a model exported by flashmd_train")]
    CutOff,
    #[error("it has more than {most} fields, too many for a network")]
    TooManyFields { most: usize },
    #[error("it is nested more than {most} levels deep")]
    NestedTooDeeply { most: usize },
    #[error("it carries training or device settings; export it without them")]
    TrainingSettings,

    // The metadata.
    #[error(
        "it is an ONNX file without the metadata entry `flashmd`, so not a flashmd-rs model; export it with flashmd_train"
    )]
    NoMetadata,
    #[error("it has two metadata entries `flashmd`; there must be one")]
    TwoMetadataEntries,
    #[error("the metadata is {bytes} bytes long; it may have {most}")]
    MetadataTooLong { bytes: usize, most: usize },
    #[error("the metadata under `flashmd` does not fit the contract: {problem}")]
    MalformedMetadata { problem: String },
    #[error("it follows contract {got}, this version reads contracts {oldest} to {newest}; upgrade flashmd-rs")]
    OtherContract { got: String, oldest: u64, newest: u64 },
    #[error("the metadata lacks `contract`; export the model to contract {wanted}")]
    NoContract { wanted: u64 },
    #[error("its kind is {got}, wanted {known}")]
    UnknownKind { got: String, known: String },
    #[error("the metadata of a {kind} model lacks `{key}`{meaning}")]
    MissingKey { kind: &'static str, key: &'static str, meaning: &'static str },
    #[error("`{key}` in the metadata is {value:?}; it must be from {least} to {most}")]
    OutOfRange { key: &'static str, value: f64, least: f64, most: f64 },
    #[error("`{key}` in the metadata's domain is {value}; it must be a number of at least 0")]
    UnsoundDomain { key: &'static str, value: f64 },
    #[error("`bonds` in the metadata's domain holds {problem}")]
    UnsoundBonds { problem: String },
    #[error("`species` in the metadata is empty; it must list the chemical symbols the model knows")]
    NoSpecies,
    #[error("`species` in the metadata holds {symbol:?}, which is not a chemical symbol")]
    NotAnElement { symbol: String },
    #[error("`species` in the metadata lists {symbol} twice")]
    DuplicateSpecies { symbol: String },
    #[error("`masses_u` in the metadata has {masses} entries for {species} species; give one per species")]
    MassCount { masses: usize, species: usize },
    #[error(
        "`splitting` in the metadata has the kicks {kicks:?} and the drifts {drifts:?}; wanted one more kick than drifts, \
         at most {most}, both the same backwards, and drifts that add up to 1"
    )]
    UnsoundSplitting { kicks: Vec<usize>, drifts: Vec<f64>, most: usize },
    #[error("`fast` in the metadata {problem}")]
    UnsoundFastForces { problem: String },
    #[error("`mean_field` in the metadata {problem}")]
    UnsoundMeanField { problem: String },

    // The graph.
    #[error("it uses opset {got}, the contract wants opset {wanted}; export it again")]
    OtherOpset { got: i64, wanted: i64 },
    #[error("it imports no standard opset, the contract wants opset {wanted}")]
    NoOpset { wanted: i64 },
    #[error("it wants the input {name}; this version can feed {known}")]
    UnknownInput { name: String, known: String },
    #[error("a model of kind {kind:?} must have the output {output:?}; it has {got}")]
    MissingOutput { kind: &'static str, output: &'static str, got: String },
    #[error("it declares the {port} {name} twice")]
    DuplicateTensor { port: &'static str, name: String },
    #[error("{port} {name} is not a tensor")]
    NotATensor { port: &'static str, name: String },
    #[error("{port} {name} is of type {got}, the contract wants {wanted}")]
    WrongType { port: &'static str, name: String, got: String, wanted: String },
    #[error("{port} {name} has {got} axes, the contract wants {wanted}")]
    WrongAxes { port: &'static str, name: String, got: usize, wanted: String },
    #[error("{port} {name} has size {got} along axis {axis}, the contract wants {wanted}")]
    WrongSize { port: &'static str, name: String, axis: usize, got: i64, wanted: i64 },
    #[error("{port} {name} is fixed to {size} along axis {axis}; export the model with N and K dynamic")]
    FixedSize { port: &'static str, name: String, axis: usize, size: i64 },

    // Its operators.
    #[error(
        "its function {function} is in the domain {domain}, where ONNX Runtime has operators of its own; rename it"
    )]
    ReservedDomain { function: String, domain: String },
    #[error("it defines the function {function} twice")]
    DuplicateFunction { function: String },
    #[error("it has more than {most} operators, too many for a network")]
    TooManyOperators { most: usize },
    #[error(
        "node {node} uses operator {operator} of the domain {domain}; only standard ONNX operators are allowed, and \
         functions of the file in the graph itself (onnx.inliner puts nested ones in place)"
    )]
    ForeignOperator { node: String, operator: String, domain: String },
    #[error(
        "node {node} is a {operator}, which may run without end; the contract wants every operator to run once: unroll it"
    )]
    RepeatingOperator { node: String, operator: String },
    #[error("node {node} is a {operator}: a run with the same seed would not repeat; give the noise as residual_scale")]
    RandomOperator { node: String, operator: String },
    #[error(
        "node {node} is a {operator} with reduction {reduction}, which ONNX Runtime computes wrongly on several threads; \
         sum over the neighbour axis and gather through `reverse` instead"
    )]
    ScatterReduction { node: String, operator: String, reduction: String },
    #[error("tensor {tensor} keeps its data in another file; save the model as one file")]
    ExternalData { tensor: String },

    // ONNX Runtime with it.
    #[error("ONNX Runtime cannot load it: {problem}")]
    NotLoadable { problem: String },
    #[error("ONNX Runtime cannot run it: {problem}")]
    NotRunnable { problem: String },
    #[error(
        "time ran out: after {seconds:.1} s of {doing}, ONNX Runtime had not opened it and run it on a few atoms; open it on \
         a faster machine, or give a smaller model"
    )]
    TooSlow { seconds: f64, doing: &'static str },
    #[error("opening it panicked, which is a defect of flashmd-rs; please report it")]
    OpeningPanicked,
    #[error("a run with this model panicked; load it again")]
    RunPanicked,
    #[error("running the network failed: {problem}")]
    RunFailed { problem: String },
    #[error("the network returned no output {output:?}")]
    NoValue { output: &'static str },
    #[error("the output {output:?} is not a float32 tensor: {problem}")]
    WrongValueType { output: &'static str, problem: String },
    #[error("the output {output:?} has shape {got:?}, the contract wants {wanted:?}")]
    WrongValueShape { output: &'static str, got: Vec<i64>, wanted: Vec<i64> },

    // Its numbers on a small random structure.
    #[error("it cannot be tried on a random structure: {problem}")]
    NotProbed { problem: String },
    #[error("on a random structure, {problem}")]
    UnstableProbe { problem: String },
    #[error("padding N or K changes {0}")]
    PaddingMatters(Deviation),
    #[error("edges longer than the cutoff change {0}")]
    BeyondCutoffMatters(Deviation),
    #[error("it is called equivariant, but a rotation changes {0}")]
    NotEquivariant(Deviation),

    // Where it is used.
    #[error("it is of kind {got:?}, wanted {wanted:?} here; give a model of that kind")]
    WrongKind { got: &'static str, wanted: &'static str },
    #[error("it has no output \"edge_gradient\", so no forces")]
    NoForces,
    #[error("atom {atom} is {symbol}, the model knows {known}; use a model trained for {symbol}")]
    UnknownElement { atom: usize, symbol: &'static str, known: String },
    #[error(
        "atom {atom} ({symbol}) has a mass of {mass} u, the model was trained with {wanted} u and holds for that mass only; \
         set the masses of {symbol} to {wanted}"
    )]
    WrongMass { atom: usize, symbol: &'static str, mass: f64, wanted: f64 },
}

impl ModelFault {
    /// Name of the variant, for callers that cannot match it.
    pub fn name(&self) -> String {
        format!("{self:?}").chars().take_while(|c| c.is_ascii_alphanumeric()).collect()
    }
}

/// By how much an output departs from what the contract says.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviation {
    /// Name of the output.
    pub output: &'static str,
    /// Largest difference.
    pub difference: f64,
    /// Largest value.
    pub largest: f64,
    /// Largest difference allowed, as a share of the largest value.
    pub allowed: f64,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { output, difference, largest, allowed } = self;
        write!(
            f,
            "its {output}: by {difference:.2e} where the largest value is {largest:.2e}, allowed {allowed:e} of that; \
             the model breaks the contract, export it again"
        )
    }
}
