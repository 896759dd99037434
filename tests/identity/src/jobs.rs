//! Jobs that somebody wrote, as subjects of the proof: the examples, the corpus of `tests/conformance`, and the kernels that are measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use manyhands_abi::parts;
use manyhands_cli::args::Build;
use manyhands_cli::build::{self, PROFILE};
use manyhands_cli::screen::Screen;
use manyhands_conformance::{Case, Wrong, built, cases, root};
use manyhands_model::{Codec, Limits, Manifest, Version};
use manyhands_protocol::Entry;
use manyhands_sealer::Sealed;
use serde_json::json;
use wasmparser::{Parser, Payload};

/// A page of linear memory, in bytes.
pub const PAGE_BYTES: u64 = 1 << 16;

/// A unit that is known to mean something to its job.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which function.
    pub entry: Entry,
    /// What it reads.
    pub input: Vec<u8>,
    /// What it hears, where it asks for calls.
    pub answers: Vec<Vec<u8>>,
    /// Its only randomness.
    pub seed: [u8; 32],
    /// What must come out, where that is known.
    pub case: Option<Box<Case>>,
}

impl Sample {
    fn of(input: impl Into<Vec<u8>>) -> Self {
        Self { entry: Entry::Run, input: input.into(), answers: Vec::new(), seed: [7; 32], case: None }
    }
}

/// A job, and what it is tried with.
pub struct Subject {
    /// Its source, from the repository's root.
    pub name: String,
    /// As a compiler leaves it.
    raw: Vec<u8>,
    /// What is published with it.
    pub manifest: Manifest,
    /// Whether it has a reduce step.
    pub reduces: bool,
    /// At least one.
    pub samples: Vec<Sample>,
    /// What its memory is from the beginning on.
    pub memory_bytes_min: u64,
}

impl Subject {
    fn new(name: String, (raw, manifest): (Vec<u8>, Manifest), samples: Vec<Sample>) -> anyhow::Result<Self> {
        if samples.is_empty() {
            bail!("{name} has no sample");
        }
        let memory_bytes_min = initial_memory(&raw)?;
        let mut subject = Self { name, raw, manifest, reduces: false, samples, memory_bytes_min };
        subject.reduces = subject.seal(subject.manifest.limits.memory_bytes)?.1.reduces;
        Ok(subject)
    }

    /// The published module and the sealed one, with so much memory.
    ///
    /// # Errors
    /// The sealer refuses it.
    pub fn seal(&self, memory_bytes: u64) -> anyhow::Result<(Vec<u8>, Sealed)> {
        let limits = Limits { memory_bytes, ..self.manifest.limits };
        let manifest = Manifest { limits, ..self.manifest.clone() };
        build::pack(&self.raw, &manifest).map_err(|fault| anyhow::anyhow!("{}: {fault}", self.name))
    }
}

fn initial_memory(module: &[u8]) -> anyhow::Result<u64> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::MemorySection(section) = payload?
            && let Some(memory) = section.into_iter().next()
        {
            return Ok(memory?.initial.max(1) * PAGE_BYTES);
        }
    }
    bail!("the module has no memory")
}

/// Every job below `jobs`, every case of the corpus of `tests/conformance`, and its modules.
///
/// What needs a compiler that is not here is left out, which is said.
///
/// # Errors
/// Something does not build.
pub fn written() -> anyhow::Result<Vec<Subject>> {
    let mut of_module: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for case in cases()? {
        let execution = case.execution_within(Limits::default())?;
        let mut read = match execution.step {
            0 => vec![execution.input.to_vec()],
            _ => parts::decode(&execution.input)?.into_iter().map(<[u8]>::to_vec).collect(),
        };
        let answers = read.split_off(1);
        let (entry, seed, input) = (execution.entry, execution.seed, read.remove(0));
        let samples = of_module.entry(case.module.clone()).or_default();
        samples.push(Sample { entry, input, answers, seed, case: Some(Box::new(case)) });
    }
    let mut subjects = Vec::new();
    let folder = root().join("jobs");
    let mut names = Vec::new();
    for entry in folder.read_dir().context("jobs")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        let folder = folder.join(&name);
        let samples = samples(&name, &folder)?;
        if folder.join("Cargo.toml").is_file() {
            let args =
                Build { source: None, manifest_path: Some(root().join("Cargo.toml")), package: Some(name.clone()) };
            let made = build::module(&args, Screen { json: false, quiet: true });
            let made = made.map_err(|fault| anyhow::anyhow!("{name}: {fault}"))?;
            subjects.push(Subject::new(format!("jobs/{name}"), made, samples)?);
        } else {
            let source = ["c", "wat"].map(|kind| format!("jobs/{name}/{name}.{kind}"));
            let source = source.into_iter().find(|source| root().join(source).is_file());
            let source =
                source.with_context(|| format!("jobs/{name} has neither Cargo.toml nor {name}.c nor {name}.wat"))?;
            of_module.entry(source).or_default().extend(samples);
        }
    }
    for (module, samples) in of_module {
        match built(&module) {
            Ok(made) => subjects.push(Subject::new(module, made, samples)?),
            Err(Wrong::MissingTool(why)) => eprintln!("LEFT OUT: {module}: {why}"),
            Err(wrong) => return Err(wrong.into()),
        }
    }
    Ok(subjects)
}

/// A job's own samples, or some for those that have none.
fn samples(job: &str, folder: &Path) -> anyhow::Result<Vec<Sample>> {
    let file = folder.join("inputs.jsonl");
    if file.is_file() {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        return Ok(text.lines().map(Sample::of).collect());
    }
    let inputs = match job {
        "nearest-airport" => {
            let place = |n: u32| {
                let (latitude, longitude) = (25.0 + 1.5 * f64::from(n), -120.0 + 3.0 * f64::from(n));
                json!({ "zip_code": format!("{n:05}"), "latitude": latitude, "longitude": longitude })
            };
            vec![json!([]), json!([place(1)]), (2..14).map(place).collect()]
        }
        "mandelbrot" => [(0.003, 300), (3.5, 50)]
            .map(|(scale, steps)| {
                json!({
                    "width": 1920, "height": 1280, "x": 960, "y": 640, "w": 16, "h": 8,
                    "center": [-0.743_64, 0.131_35], "scale": scale, "max_iterations": steps,
                })
            })
            .to_vec(),
        "text-index" => {
            ["Free software, FREE as in freedom. Straße — straße; GPL-3.", "many hands make light work", ""]
                .map(|text| json!({ "name": text.len().to_string(), "text": text }))
                .to_vec()
        }
        _ => bail!("jobs/{job} has no inputs.jsonl, and nothing is known here that it could read"),
    };
    Ok(inputs.into_iter().map(|input| Sample::of(input.to_string())).collect())
}

/// The kernels of `tests/kernels`, each a job that takes a number of rounds.
///
/// # Errors
/// They do not build.
pub fn kernels() -> anyhow::Result<Vec<Subject>> {
    let target = "wasm32-unknown-unknown";
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root()).args(["build", "--quiet", "--release", "--target", target]);
    cargo.args(PROFILE.iter().flat_map(|setting| ["--config", setting]));
    cargo.args(["--package", "manyhands-kernels", "--features", "manyhands-kernels/modules", "--lib", "--examples"]);
    if !cargo.status().context("cargo cannot be started")?.success() {
        bail!("the kernels do not build");
    }
    let mut names = Vec::new();
    for entry in root().join("tests/kernels/examples").read_dir().context("tests/kernels/examples")? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    let kernel = |name: String| {
        let file = root().join("target").join(target).join(format!("release/examples/{name}.wasm"));
        let raw = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let manifest = Manifest {
            name: name.replace('_', "-").try_into()?,
            version: Version::new(1, 0, 0),
            abi: manyhands_abi::VERSION,
            description: "A kernel.".into(),
            codec: Codec::Raw,
            limits: Limits::default(),
            sensitive: Default::default(),
            verbs: Default::default(),
            record_bytes: 0,
        };
        let samples = [1_u32, 2].map(|rounds| Sample::of(rounds.to_le_bytes()));
        Subject::new(format!("tests/kernels/{name}"), (raw, manifest), samples.to_vec())
    };
    names.into_iter().map(kernel).collect()
}
