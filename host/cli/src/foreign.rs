//! `manyhands build FILE`: a job in C, in WebAssembly text, or from any other compiler, with its manifest beside it.

use std::path::Path;
use std::process::{Command, Stdio};

use manyhands_abi::MANIFEST_SECTION;
use manyhands_model::Manifest;

use crate::build::finish;
use crate::fault::{Exit, Fault, Result};
use crate::screen::Screen;
use crate::section;

const COMPILER: &str = "clang";
/// The linker that the compiler starts.
const LINKER: &str = "wasm-ld";

/// How C is compiled: without a C library, and to what the Rust target has too. The stack lies below the
/// data, so that one that overflows is a trap and not another answer.
const C_FLAGS: &[&str] = &[
    "--target=wasm32",
    "-std=c17",
    "-O2",
    "-Wall",
    "-Wextra",
    "-ffreestanding",
    "-nostdlib",
    "-mbulk-memory",
    "-mmutable-globals",
    "-mnontrapping-fptoint",
    "-msign-ext",
    "-Wl,--no-entry",
    "-Wl,--stack-first",
    "-Wl,--strip-debug",
];

/// Builds and prints the path of the module, in `target/manyhands` of the current folder.
///
/// # Errors
/// A file cannot be read, a compiler is missing or refuses it, the manifest is wrong, the sealer refuses.
pub(crate) fn build(source: &Path, screen: Screen) -> Result<()> {
    let (raw, manifest) = module(source)?;
    finish(Path::new("target"), &raw, manifest, screen)
}

/// The module of a source file, and its manifest.
///
/// # Errors
/// The file, the compiler or the manifest is wrong, or the sealer refuses.
pub fn module(source: &Path) -> Result<(Vec<u8>, Manifest)> {
    let raw = match source.extension().and_then(|extension| extension.to_str()) {
        Some("wasm") => std::fs::read(source).map_err(|error| Fault::file("read", source, &error))?,
        Some("wat") => assemble(source)?,
        Some("c") => compile(source)?,
        _ => {
            return Err(Fault::usage(format!("`{}` is not .c, .wat or .wasm", source.display()))
                .help("a crate is built without naming a file; --manifest-path names its Cargo.toml"));
        }
    };
    let manifest = manifest(source, &raw)?;
    Ok((raw, manifest))
}

/// The manifest beside the source; without one, that in the module.
fn manifest(source: &Path, raw: &[u8]) -> Result<Manifest> {
    let path = source.with_extension("json");
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match section::read(raw, MANIFEST_SECTION).unwrap_or_default().first() {
                Some(section) => section.to_vec(),
                None => {
                    return Err(Fault::usage(format!("`{}` is missing: it says what the job is", path.display()))
                        .help(
                            r#"the least: {"name":"my-job","version":"0.1.0","abi":1}; all keys are in docs/abi.md"#,
                        ));
                }
            }
        }
        Err(error) => return Err(Fault::file("read", &path, &error)),
    };
    serde_json::from_slice(&json).map_err(|error| Fault::usage(format!("`{}`: {error}", path.display())))
}

fn assemble(source: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read_to_string(source).map_err(|error| Fault::file("read", source, &error))?;
    wat::parse_str(text).map_err(|mut error| {
        error.set_path(source);
        Fault::job(error.to_string())
    })
}

fn compile(source: &Path) -> Result<Vec<u8>> {
    // A missing file is the user's own mistake, and clear without a compiler's words.
    source.metadata().map_err(|error| Fault::file("read", source, &error))?;
    let folder = tempfile::tempdir().map_err(|error| Fault::usage(format!("no temporary folder: {error}")))?;
    let out = folder.path().join("job.wasm");
    // The compiler's messages are for people, and stdout is for data.
    let output = Command::new(COMPILER)
        .args(C_FLAGS)
        .arg("-o")
        .args([&out, source])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status();
    match output {
        Ok(status) if status.success() => std::fs::read(&out).map_err(|error| Fault::file("read", &out, &error)),
        Ok(_) if !has_linker() => Err(missing(&format!("there is no {LINKER}, which {COMPILER} links with"))),
        Ok(_) => Err(Fault::job(format!("`{}` does not build; {COMPILER} says why above", source.display()))),
        Err(error) => Err(missing(&format!("cannot start {COMPILER}: {error}"))),
    }
}

fn missing(what: &str) -> Fault {
    Fault::new(Exit::MissingTool, what)
        .help("on Debian and Ubuntu `sudo apt install clang lld` brings both, on Fedora `sudo dnf install clang lld`")
}

/// Whether the compiler finds its linker; where it does not, it prints the bare name back.
fn has_linker() -> bool {
    let asked = Command::new(COMPILER).arg(format!("-print-prog-name={LINKER}")).stderr(Stdio::null()).output();
    asked.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() != LINKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn text_becomes_a_module_with_the_manifest_beside_it() {
        let folder = in_folder(&[
            ("a.wat", r#"(module (@custom "manyhands.manifest" "{}"))"#),
            ("a.json", r#"{"name":"a","version":"0.1.0","abi":1,"codec":"raw"}"#),
        ]);
        let (raw, manifest) = module(&folder.path().join("a.wat")).expect("builds");
        assert!(raw.starts_with(b"\0asm"));
        assert_eq!(manifest.name.as_str(), "a");
    }

    #[test]
    fn a_manifest_may_be_in_the_module_already_but_has_to_be_somewhere() {
        let inside = r#"(module (@custom "manyhands.manifest" "{\"name\":\"b\",\"version\":\"0.1.0\",\"abi\":1}"))"#;
        let folder = in_folder(&[("b.wat", inside), ("c.wat", "(module)")]);
        assert_eq!(module(&folder.path().join("b.wat")).expect("builds").1.name.as_str(), "b");
        let fault = module(&folder.path().join("c.wat")).expect_err("refused");
        assert!(fault.message.contains("c.json") && fault.help.is_some(), "{fault}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        let folder = in_folder(&[("a.wat", "(module (func"), ("b.wat", "(module)"), ("b.json", r#"{"nam":1}"#)]);
        for (name, said, exit) in [
            ("a.wat", "a.wat:1", Exit::JobFailed),
            ("b.wat", "`nam`", Exit::Usage),
            ("c.c", "c.c", Exit::Usage),
            ("d.py", "not .c, .wat or .wasm", Exit::Usage),
        ] {
            let fault = module(&folder.path().join(name)).expect_err("refused");
            assert!(fault.message.contains(said) && fault.exit == exit, "{fault}");
        }
    }
}
