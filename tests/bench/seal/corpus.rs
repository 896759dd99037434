//! The kernels of `tests/kernels` and the jobs of `jobs/`, as modules.

use std::path::PathBuf;
use std::process::Command;

use manyhands_abi::MANIFEST_SECTION;
use manyhands_cli::build::PROFILE;
use manyhands_model::Codec;
use manyhands_tests::{jobs, workspace};
use wasm_encoder::{CustomSection, Section as _};

const TARGET: &str = "wasm32-unknown-unknown";

/// What a kernel is about. Aims are set for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Float,
    /// Nothing but calls of itself.
    Recursion,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Recursion => "recursion",
        }
    }
}

const KERNELS: &[(Kind, &[&str])] = &[
    (
        Kind::Integer,
        &[
            "sha256",
            "deflate",
            "json",
            "json_values",
            "regex",
            "words",
            "levenshtein",
            "copies",
            "sort",
            "sort_strings",
            "quicksort",
            "mergesort",
            "btree",
            "hashmap",
            "nqueens",
            "sieve",
            "modpow",
            "interpreter",
            "shapes",
            "resize_bytes",
            "blur_simd",
        ],
    ),
    (
        Kind::Float,
        &[
            "nbody",
            "matmul_f64",
            "matmul_f32",
            "matmul_simd_f64",
            "matmul_simd_f32",
            "matmul_dot",
            "fft",
            "resize_lanczos",
            "mandelbrot",
            "spectral_norm",
        ],
    ),
    (Kind::Recursion, &["fib", "tak", "ackermann"]),
];

const JOBS: &[&str] = &["nearest-airport", "text-index", "mandelbrot"];

/// A module whose input is a number of rounds.
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// With a manifest, as it would be published.
    pub(crate) module: Vec<u8>,
}

impl Kernel {
    pub(crate) fn label(&self) -> String {
        let kind = match self.kind {
            Kind::Integer => "",
            Kind::Float => ", float",
            Kind::Recursion => ", recursion",
        };
        format!("{}{kind}", self.name)
    }
}

/// Everything that is measured.
pub(crate) struct Corpus {
    pub(crate) kernels: Vec<Kernel>,
    /// Names and modules of the example jobs, as they would be published.
    pub(crate) jobs: Vec<(&'static str, Vec<u8>)>,
}

impl Corpus {
    /// Compiles it.
    ///
    /// # Panics
    /// When cargo fails, which says why.
    pub(crate) fn build() -> Self {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(workspace()).args(["build", "--quiet", "--release", "--target", TARGET]);
        cargo.args(PROFILE.iter().flat_map(|setting| ["--config", setting]));
        cargo.args([
            "--package",
            "manyhands-kernels",
            "--features",
            "manyhands-kernels/modules",
            "--lib",
            "--examples",
        ]);
        let status = cargo.args(JOBS.iter().flat_map(|job| ["--package", job])).status();
        assert!(status.is_ok_and(|status| status.success()), "the kernels do not build");

        let folder = workspace().join("target").join(TARGET).join("release");
        let kernels = KERNELS.iter().flat_map(|(kind, names)| names.iter().map(|name| (*kind, *name)));
        let kernels = kernels
            .map(|(kind, name)| Kernel { name, kind, module: read(name, folder.join(format!("examples/{name}.wasm"))) })
            .collect();
        let job = |name: &&'static str| (*name, read(name, folder.join(format!("{}.wasm", name.replace('-', "_")))));
        Self { kernels, jobs: JOBS.iter().map(job).collect() }
    }
}

/// A module and a manifest.
fn read(name: &str, path: PathBuf) -> Vec<u8> {
    let mut module = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let manifest = jobs::manifest(&name.replace('_', "-"), Codec::Raw);
    let json = serde_json::to_vec(&manifest).expect("serialises");
    CustomSection { name: MANIFEST_SECTION.into(), data: json.as_slice().into() }.append_to(&mut module);
    module
}
