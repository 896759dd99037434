//! `manyhands build`: a job's crate to the one file that can be published. Jobs that are no Rust are in [`foreign`].

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{CrateType, Message, Metadata, MetadataCommand, Package, TargetKind};
use manyhands_abi::{CODEC_SECTION, MANIFEST_SECTION, SENSITIVE_SECTION};
use manyhands_model::{Codec, Digest, JobName, Manifest, Sensitive};
use manyhands_sealer::Sealed;
use serde::Serialize;

use crate::args::Build;
use crate::fault::{Exit, Fault, Result};
use crate::foreign;
use crate::metadata::{JobMetadata, both};
use crate::screen::{Screen, bytes};
use crate::section;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How jobs are compiled, whatever the crate's own profile says. A panic ends the execution, so unwinding
/// is dead weight; one code unit and full LTO make the module small and the same on every machine.
pub const PROFILE: &[&str] = &[
    "profile.release.panic=\"abort\"",
    "profile.release.opt-level=3",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.debug=false",
    "profile.release.strip=\"debuginfo\"",
];

/// Added for jobs that ask for the SDK's feature `small`: what is the SDK's own is compiled for size, and the job for speed as ever.
const SMALL: &str = "profile.release.package.manyhands.opt-level=\"s\"";

/// What `--json` prints.
#[derive(Serialize)]
struct Built<'a> {
    path: &'a Path,
    manifest: &'a Manifest,
    reduces: bool,
    module_bytes: u64,
    source: Digest,
}

/// Builds and prints the path of the module.
///
/// # Errors
/// Cargo, rustup or the target is missing; the crate does not build; its metadata is wrong; the sealer refuses.
pub fn build(args: &Build, screen: Screen) -> Result<()> {
    if let Some(source) = &args.source {
        return foreign::build(source, screen);
    }
    let (target, raw, manifest) = compiled(args, screen)?;
    finish(&target, &raw, manifest, screen)
}

/// The module of a job's crate, and its manifest.
///
/// # Errors
/// Cargo, rustup or the target is missing; the crate does not build; its metadata is wrong.
pub fn module(args: &Build, screen: Screen) -> Result<(Vec<u8>, Manifest)> {
    let (_, raw, manifest) = compiled(args, screen)?;
    let manifest = complete(&raw, manifest)?;
    Ok((raw, manifest))
}

/// The folder `target`, what cargo made of the crate, and what its metadata say.
fn compiled(args: &Build, screen: Screen) -> Result<(PathBuf, Vec<u8>, Manifest)> {
    let metadata = read_metadata(args)?;
    let package = pick(&metadata, args)?;
    let job = JobMetadata::read(&package.metadata)?;
    let name: JobName =
        package.name.parse().map_err(|error| Fault::usage(format!("Cargo.toml: package name: {error}")))?;
    let folder = package.manifest_path.parent().map_or(Path::new("."), |folder| folder.as_std_path());

    add_target_if_missing(folder, screen)?;
    let artifact = compile(package, folder, screen)?;
    let raw = std::fs::read(&artifact).map_err(|error| Fault::file("read", &artifact, &error))?;

    let manifest = Manifest {
        name,
        version: package.version.clone(),
        abi: manyhands_abi::VERSION,
        description: job.description.or_else(|| package.description.clone()).unwrap_or_default(),
        codec: codec(&raw)?,
        limits: job.limits,
        sensitive: job.sensitive,
        verbs: job.verbs,
        record_bytes: job.record_bytes,
    };
    Ok((metadata.target_directory.into_std_path_buf(), raw, manifest))
}

/// Packs a module with all that is known of it, writes it below the folder `target` and says so.
pub(crate) fn finish(target: &Path, raw: &[u8], manifest: Manifest, screen: Screen) -> Result<()> {
    let manifest = complete(raw, manifest)?;
    let (module, sealed) = pack(raw, &manifest)?;
    let path = write(target, &manifest.name, &module)?;
    let (size, sealed_size) = (module.len() as u64, sealed.bytes.len() as u64);
    screen.note(format_args!("{}@{}: {}, {} sealed", manifest.name, manifest.version, bytes(size), bytes(sealed_size)));
    match manifest.sensitive.len() {
        0 => {}
        1 => screen.note(format_args!("one field of its input is sensitive")),
        places => screen.note(format_args!("{places} fields of its input are sensitive")),
    }
    if screen.json {
        let (reduces, source) = (sealed.reduces, Digest::of(&module));
        screen.json(&Built { path: &path, manifest: &manifest, reduces, module_bytes: size, source })
    } else {
        screen.line(path.display())
    }
}

/// The manifest with what the types of the job's input say besides.
fn complete(raw: &[u8], manifest: Manifest) -> Result<Manifest> {
    Ok(Manifest { sensitive: both(&sensitive(raw)?, &manifest.sensitive)?, ..manifest })
}

/// Puts the manifest into a module, and asks the sealer whether a coordinator would take it.
///
/// # Errors
/// The bytes are no module, or the sealer refuses it.
pub fn pack(raw: &[u8], manifest: &Manifest) -> Result<(Vec<u8>, Sealed)> {
    let json =
        serde_json::to_vec(manifest).map_err(|error| Fault::bug(format!("cannot write the manifest: {error}")))?;
    let left_out = [CODEC_SECTION, SENSITIVE_SECTION, MANIFEST_SECTION];
    let module = section::replace(raw, &left_out, MANIFEST_SECTION, &json)
        .map_err(|error| Fault::job(format!("what was built is no module: {}", error.reason)))?;
    let sealed = manyhands_sealer::seal(&module).map_err(|refusal| Fault::refused(&refusal))?;
    Ok((module, sealed))
}

/// What the SDK noted in a section.
fn noted<'a>(raw: &'a [u8], name: &str) -> Result<Vec<&'a [u8]>> {
    section::read(raw, name).map_err(|error| Fault::job(format!("what was built is no module: {}", error.reason)))
}

/// Which fields of an input the job's types call sensitive. Jobs without the SDK have no such types.
fn sensitive(raw: &[u8]) -> Result<Vec<Sensitive>> {
    match noted(raw, SENSITIVE_SECTION)?.as_slice() {
        [] | [b""] => Ok(Vec::new()),
        [list] => serde_json::from_slice(list)
            .map_err(|error| Fault::job(format!("the sensitive fields of the job's types are no such list: {error}"))),
        _ => Err(Fault::job(format!("the module has more than one section `{SENSITIVE_SECTION}`"))),
    }
}

/// How the SDK notes that inputs and outputs are written down. Jobs without the SDK have raw bytes.
fn codec(raw: &[u8]) -> Result<Codec> {
    let sections = noted(raw, CODEC_SECTION)?;
    match sections.as_slice() {
        [] => Ok(Codec::Raw),
        [b"json"] => Ok(Codec::Json),
        [b"postcard"] => Ok(Codec::Postcard),
        [b"raw"] => Ok(Codec::Raw),
        // The linker joins sections of one name, so two jobs in one crate show here as one long word.
        _ => Err(Fault::job("the crate has more than one #[manyhands::job]; a module is one job")
            .help("put each into a crate of its own")),
    }
}

fn read_metadata(args: &Build) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.no_deps();
    if let Some(path) = &args.manifest_path {
        command.manifest_path(path);
    }
    command.exec().map_err(|error| match error {
        cargo_metadata::Error::CargoMetadata { stderr } => {
            Fault::usage(stderr.trim().trim_start_matches("error: ").to_owned())
        }
        cargo_metadata::Error::Io(error) => missing_cargo(&error),
        other => Fault::bug(format!("cannot read `cargo metadata`: {other}")),
    })
}

/// The package that is meant: named, or at the place of the Cargo.toml, or the only job of the workspace.
fn pick<'a>(metadata: &'a Metadata, args: &Build) -> Result<&'a Package> {
    let members = metadata.workspace_packages();
    let is_job =
        |package: &Package| package.targets.iter().any(|target| target.crate_types.contains(&CrateType::CDyLib));
    let not_a_job = |package: &Package| {
        Fault::usage(format!("package `{}` is not a job: it builds no cdylib", package.name))
            .help("its Cargo.toml needs:  [lib] crate-type = [\"cdylib\", \"rlib\"]")
    };
    let chosen = match &args.package {
        Some(name) => {
            let found = members.iter().find(|package| package.name.as_str() == name);
            Some(*found.ok_or_else(|| {
                let names: Vec<&str> = members.iter().map(|package| package.name.as_str()).collect();
                Fault::usage(format!("there is no package `{name}` in this workspace; there is {}", names.join(", ")))
            })?)
        }
        None => nearest(args).and_then(|place| members.iter().copied().find(|package| package.manifest_path == place)),
    };
    if let Some(package) = chosen {
        return if is_job(package) { Ok(package) } else { Err(not_a_job(package)) };
    }
    let jobs: Vec<&Package> = members.into_iter().filter(|package| is_job(package)).collect();
    match jobs.as_slice() {
        [job] => Ok(job),
        [] => Err(Fault::usage("no package of this workspace is a job: none builds a cdylib")),
        jobs => {
            let names: Vec<&str> = jobs.iter().map(|package| package.name.as_str()).collect();
            Err(Fault::usage(format!("this workspace has several jobs; choose with -p: {}", names.join(", "))))
        }
    }
}

/// The Cargo.toml that was named, or the one that is meant in this folder.
fn nearest(args: &Build) -> Option<PathBuf> {
    match &args.manifest_path {
        Some(path) => std::fs::canonicalize(path).ok(),
        None => {
            let folder = std::fs::canonicalize(std::env::current_dir().ok()?).ok()?;
            folder.ancestors().map(|folder| folder.join("Cargo.toml")).find(|path| path.exists())
        }
    }
}

/// Runs cargo, with its messages on stderr, and returns the module that it made.
fn compile(package: &Package, folder: &Path, screen: Screen) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .args(["build", "--release", "--lib", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(&package.manifest_path);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    if is_small(package) {
        command.args(["--config", SMALL]);
    }
    if let Some(remap) = anonymous_paths() {
        command.arg("--config").arg(remap);
    }
    if screen.quiet {
        command.arg("--quiet");
    }
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| missing_cargo(&error))?;
    let mut artifact = None;
    if let Some(stdout) = child.stdout.take() {
        for message in Message::parse_stream(BufReader::new(stdout)) {
            if let Ok(Message::CompilerArtifact(built)) = message
                && built.package_id == package.id
                && built.target.kind.contains(&TargetKind::CDyLib)
            {
                artifact = built.filenames.into_iter().find(|path| path.extension() == Some("wasm"));
            }
        }
    }
    let status = child.wait().map_err(|error| Fault::bug(format!("cannot wait for cargo: {error}")))?;
    if !status.success() {
        return Err(Fault::job(format!("`{}` does not build; cargo says why above", package.name)));
    }
    let artifact = artifact.ok_or_else(|| Fault::bug("cargo built no .wasm file"))?;
    Ok(artifact.into_std_path_buf())
}

fn is_small(package: &Package) -> bool {
    let small = |feature: &String| feature == "small";
    package.dependencies.iter().any(|needed| needed.name == "manyhands" && needed.features.iter().any(small))
}

/// A setting that keeps the author's folders out of the module: panics of dependencies carry the path of
/// their source, which would tell who built the module and make it another one on every machine.
fn anonymous_paths() -> Option<String> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    // The last prefix that fits counts, so the more special one comes last.
    let flags = [(home, "~"), (cargo_home, "cargo")].map(|(path, short)| match path.to_str() {
        Some(path) if path != "/" => Some(toml::Value::String(format!("--remap-path-prefix={path}={short}"))),
        _ => None,
    });
    let flags: Vec<toml::Value> = flags.into_iter().flatten().collect();
    Some(format!("target.{TARGET}.rustflags={}", toml::Value::Array(flags)))
}

fn write(target: &Path, name: &JobName, module: &[u8]) -> Result<PathBuf> {
    let folder = target.join("manyhands");
    std::fs::create_dir_all(&folder).map_err(|error| Fault::file("create", &folder, &error))?;
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, module).map_err(|error| Fault::file("write", &path, &error))?;
    Ok(path)
}

/// Cargo, or the one that runs this process.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

pub(crate) fn missing_cargo(error: &std::io::Error) -> Fault {
    Fault::new(Exit::MissingTool, format!("cannot start cargo: {error}")).help("install Rust from https://rustup.rs")
}

/// Looks for the target's standard library, and has rustup install it where it is missing.
pub(crate) fn add_target_if_missing(folder: &Path, screen: Screen) -> Result<()> {
    if has_target(folder)? {
        return Ok(());
    }
    screen.note(format_args!("the target {TARGET} is missing; adding it with rustup"));
    let by_hand = format!(
        "install it by hand, `rustup target add {TARGET}`, or with your system's package of Rust for WebAssembly"
    );
    let missing = |reason: String| {
        Fault::new(Exit::MissingTool, format!("the target {TARGET} is missing and rustup could not add it: {reason}"))
            .help(by_hand.clone())
    };
    // stdout is for data; rustup has none.
    let output =
        Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(missing(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(missing(error.to_string())),
    }
}

fn has_target(folder: &Path) -> Result<bool> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
        .map_err(|error| {
            Fault::new(Exit::MissingTool, format!("cannot start rustc: {error}"))
                .help("install Rust from https://rustup.rs")
        })?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let Ok(entries) = library.read_dir() else { return Ok(false) };
    Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(sections: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {sections})")).expect("parses")
    }

    #[test]
    fn the_codec_is_what_the_sdk_noted() {
        assert_eq!(codec(&module("")), Ok(Codec::Raw));
        assert_eq!(codec(&module("(@custom \"manyhands.codec\" \"json\")")), Ok(Codec::Json));
        assert_eq!(codec(&module("(@custom \"manyhands.codec\" \"postcard\")")), Ok(Codec::Postcard));
        let two = codec(&module("(@custom \"manyhands.codec\" \"jsonjson\")")).expect_err("refused");
        assert!(two.message.contains("more than one"), "{two}");
    }

    #[test]
    fn the_sensitive_fields_are_what_the_sdk_noted() {
        let of = |data: &str| sensitive(&module(&format!("(@custom \"manyhands.sensitive\" {data:?})")));
        assert_eq!(sensitive(&module("")), Ok(Vec::new()));
        assert_eq!(of(""), Ok(Vec::new()));
        let fields = of(r#"[{"at":"$[*].email","class":"email","reveal":"domain"}]"#).expect("a list");
        assert_eq!(fields[0].at.to_string(), "$[*].email");
        assert!(of("[").expect_err("refused").message.contains("no such list"));
    }

    #[test]
    fn what_the_types_say_is_in_the_manifest_and_no_longer_beside_it() {
        let raw = module(
            r#"(memory (export "memory") 1) (func (export "manyhands_run"))
               (@custom "manyhands.sensitive" "[{\22at\22:\22$.email\22,\22class\22:\22email\22}]")"#,
        );
        let manifest = serde_json::from_str(r#"{"name":"a","version":"0.1.0","abi":1}"#).expect("a manifest");
        let (built, sealed) = pack(&raw, &complete(&raw, manifest).expect("they agree")).expect("it is sealed");
        assert!(section::read(&built, SENSITIVE_SECTION).expect("a module").is_empty());
        assert_eq!(sealed.manifest.sensitive[0].at.to_string(), "$.email");
    }
}
