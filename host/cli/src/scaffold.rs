//! `manyhands new`: a job's crate, from templates that are part of this binary and therefore never older
//! or newer than it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::args::{New, Template};
use crate::fault::{Exit, Fault, Result};
use crate::screen::Screen;

/// The files of a template: path in the new crate, and contents with `{{words}}` to fill in.
type Files = &'static [(&'static str, &'static str)];

const HELLO: Files = &[
    ("Cargo.toml", include_str!("../templates/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("../templates/cargo-config.toml.in")),
    (".gitignore", include_str!("../templates/gitignore.in")),
    ("README.md", include_str!("../templates/hello/README.md.in")),
    ("src/lib.rs", include_str!("../templates/hello/lib.rs.in")),
    ("inputs.jsonl", include_str!("../templates/hello/inputs.jsonl.in")),
];

const MAP_REDUCE: Files = &[
    ("Cargo.toml", include_str!("../templates/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("../templates/cargo-config.toml.in")),
    (".gitignore", include_str!("../templates/gitignore.in")),
    ("README.md", include_str!("../templates/map-reduce/README.md.in")),
    ("src/lib.rs", include_str!("../templates/map-reduce/lib.rs.in")),
    ("inputs.jsonl", include_str!("../templates/map-reduce/inputs.jsonl.in")),
];

/// Names that Cargo or the compiler keep for themselves, or that the SDK has.
const RESERVED: &[&str] = &["alloc", "core", "manyhands", "proc-macro", "serde", "std", "test"];

/// Writes the crate and says what to do next.
///
/// # Errors
/// The folder exists, cannot be written, or the name is reserved.
pub fn new(args: &New, screen: Screen) -> Result<()> {
    let folder = create(Path::new("."), args)?;
    if screen.json {
        screen.json(&serde_json::json!({ "path": folder }))?;
    } else {
        screen.line(folder.display())?;
    }
    let name = &args.name;
    screen.note(format_args!(
        "next:  cd {name}\n       cargo test\n       manyhands build\n       manyhands run target/manyhands/{name}.wasm --inputs inputs.jsonl"
    ));
    Ok(())
}

/// Writes the crate below `parent` and returns its folder.
///
/// # Errors
/// The folder exists, cannot be written, or the name is reserved.
pub fn create(parent: &Path, args: &New) -> Result<PathBuf> {
    let name = args.name.as_str();
    if RESERVED.contains(&name) || is_keyword(name) {
        return Err(Fault::usage(format!("a crate cannot be called `{name}`; choose another name")));
    }
    let (sdk, harness) = match &args.sdk_path {
        Some(path) => {
            let folder = absolute(path)?;
            let at = |folder: &Path| Ok(format!("path = {}", quoted(folder)?));
            (at(&folder)?, at(&folder.join("test"))?)
        }
        None => ("version = \"0.1\"".to_owned(), "version = \"0.1\"".to_owned()),
    };
    let (files, description) = match args.template {
        Template::Hello => (HELLO, "Greets whoever is named in the input."),
        Template::MapReduce => (MAP_REDUCE, "Counts words in texts and adds up the counts."),
    };
    let folder = if parent == Path::new(".") { PathBuf::from(name) } else { parent.join(name) };
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Fault::usage(format!("`{}` exists already; nothing was written", folder.display())));
        }
        Err(error) => return Err(Fault::file("create", &folder, &error)),
    }
    for (path, template) in files {
        let words =
            [("{{name}}", name), ("{{description}}", description), ("{{sdk}}", &sdk), ("{{harness}}", &harness)];
        let text = words.iter().fold((*template).to_owned(), |text, (word, value)| text.replace(word, value));
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| Fault::file("create", parent, &error))?;
        }
        fs::write(&path, text).map_err(|error| Fault::file("write", &path, &error))?;
    }
    Ok(folder)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let full = path.canonicalize().map_err(|error| Fault::file("find the SDK in", path, &error))?;
    if full.join("Cargo.toml").is_file() {
        Ok(full)
    } else {
        Err(Fault::usage(format!(
            "`{}` has no Cargo.toml; --sdk-path names the folder of the guest SDK",
            path.display()
        )))
    }
}

/// The path as a TOML string.
fn quoted(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) => Ok(toml::Value::String(text.to_owned()).to_string()),
        None => Err(Fault::new(Exit::Usage, format!("`{}` is not UTF-8, and Cargo.toml has to be", path.display()))),
    }
}

/// A crate's library is an identifier, so its name may not be a word of the language.
fn is_keyword(name: &str) -> bool {
    const KEYWORDS: &str = " abstract as async await become box break const continue crate do dyn else enum extern false \
        final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct \
        super trait true try type typeof unsafe unsized use virtual where while yield ";
    KEYWORDS.split_whitespace().any(|keyword| keyword == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaffold(name: &str, template: Template) -> (tempfile::TempDir, Result<PathBuf>) {
        let parent = tempfile::tempdir().expect("a folder");
        let args = New { name: name.parse().expect("a name"), template, sdk_path: None };
        let made = create(parent.path(), &args);
        (parent, made)
    }

    #[test]
    fn every_template_is_filled_in_and_its_manifest_is_understood() {
        for template in [Template::Hello, Template::MapReduce] {
            let (_parent, made) = scaffold("my-job", template);
            let folder = made.expect("written");
            for (path, _) in if template == Template::Hello { HELLO } else { MAP_REDUCE } {
                let text = fs::read_to_string(folder.join(path)).expect("written");
                assert!(!text.contains("{{"), "{path}: {text}");
            }
            let text = fs::read_to_string(folder.join("Cargo.toml")).expect("written");
            let cargo: toml::Table = text.parse().expect("TOML");
            assert_eq!(cargo["package"]["name"].as_str(), Some("my-job"));
            assert_eq!(cargo["dependencies"]["manyhands"]["version"].as_str(), Some("0.1"));
            assert!(cargo["workspace"].as_table().expect("its own workspace").is_empty());
            let metadata = serde_json::to_value(&cargo["package"]["metadata"]).expect("JSON");
            crate::metadata::JobMetadata::read(&metadata).expect("known keys");
            let inputs = fs::read_to_string(folder.join("inputs.jsonl")).expect("written");
            for line in inputs.lines() {
                serde_json::from_str::<serde_json::Value>(line).expect("JSON");
            }
        }
    }

    #[test]
    fn what_exists_is_not_touched() {
        let (parent, _) = scaffold("my-job", Template::Hello);
        let args = New { name: "my-job".parse().expect("a name"), template: Template::Hello, sdk_path: None };
        let fault = create(parent.path(), &args).expect_err("refused");
        assert!(fault.message.contains("exists already"), "{fault}");
    }

    #[test]
    fn words_of_the_language_are_no_names() {
        for name in ["match", "test", "manyhands"] {
            assert_eq!(scaffold(name, Template::Hello).1.expect_err("refused").exit, Exit::Usage);
        }
    }
}
