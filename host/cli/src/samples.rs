//! What `publish` and `check` look at before others get it: inputs like those that the job will get.
//!
//! Nothing that looks sensitive may stand in them undeclared, and a job whose inputs have sensitive fields must do the same whatever tokens
//! stand in their place. Neither is what protects anybody (see [`manyhands_detectors`]); both save a person from finding out later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use manyhands_detectors::{Finding, Why, look};
use manyhands_model::{Class, Codec, JobName, Manifest, Sensitive};
use manyhands_sealer::Sealed;
use serde::Serialize;

use crate::args::Samples;
use crate::fault::{Fault, Result};
use crate::inputs::{lines, read_whole};
use crate::local::forms;
use crate::screen::{Screen, grouped, printable, table};

/// Samples that are executed, at most: a job that looks at tokens seldom needs many to show it.
const EXECUTED_MAX: usize = 32;
/// Places that are shown, at most.
const SHOWN_MAX: usize = 20;

/// One sample.
pub(crate) struct Sample {
    file: PathBuf,
    /// The line of the file with which it begins, from 1.
    line: u64,
    /// The input.
    pub(crate) input: Vec<u8>,
}

impl Sample {
    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        match self.line {
            1 => self.file.display().to_string(),
            line => format!("{}:{line}", self.file.display()),
        }
    }
}

/// What was looked at.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Samples in which nothing looks sensitive that is not declared.
    pub clean: u64,
    /// Samples that are no JSON, as those of other codecs may be. Nobody looked into them.
    pub unread: u64,
    /// Samples that were executed with two workers' tokens, with the same outcome.
    pub executed: u64,
}

/// Looks at the samples of a module.
///
/// # Errors
/// Something looks sensitive and is not declared, the outcome depends on the bytes of tokens, or a sample is no input of this job.
pub async fn check(args: &Samples, module: &Path, sealed: &Sealed, screen: Screen) -> Result<Looked> {
    let manifest = &sealed.manifest;
    let files = if args.files.is_empty() { beside(module, &manifest.name) } else { args.files.clone() };
    if files.is_empty() {
        if !manifest.sensitive.is_empty() {
            let cure = "name some with --sample";
            screen
                .note(format_args!("warning: without samples nobody looked whether the job depends on tokens; {cure}"));
        }
        return Ok(Looked::default());
    }
    let mut open: Vec<Sensitive> = manifest.sensitive.to_vec();
    let allowed = args.allow_undeclared.iter().cloned();
    open.extend(allowed.map(|at| Sensitive {
        at,
        class: Class::Text,
        reveal: None,
        surrogate: false,
        joinable: false,
    }));
    let (mut looked, mut found, mut executed) = (Looked::default(), Found::default(), Vec::new());
    for sample in read(&files) {
        let sample = sample?;
        match look(&sample.input, &open) {
            Ok(findings) => {
                looked.clean += 1;
                findings.into_iter().for_each(|finding| found.add(&sample, finding));
            }
            Err(error) if manifest.codec == Codec::Json => {
                let message = format!("{}: a sample of a job whose codec is `json` is {error}", sample.place());
                return Err(Fault::usage(message).help("mend it, or name other samples with --sample"));
            }
            Err(_) => looked.unread += 1,
        }
        if !manifest.sensitive.is_empty() && executed.len() < EXECUTED_MAX {
            executed.push(sample);
        }
    }
    found.judge(manifest)?;
    if !manifest.sensitive.is_empty() {
        looked.executed = forms::check(sealed, &executed, screen).await?;
        if looked.executed == 0 {
            let places: Vec<String> = manifest.sensitive.iter().map(|field| format!("`{}`", field.at)).collect();
            screen.note(format_args!(
                "warning: no sample has a value at {}, so nothing was executed with tokens; are these the right places?",
                places.join(", ")
            ));
        }
    }
    screen.note(told(&looked, &files));
    Ok(looked)
}

fn told(looked: &Looked, files: &[PathBuf]) -> String {
    let Looked { clean, unread, executed } = looked;
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let mut parts = vec![format!("samples looked at: {} ({})", grouped(clean + unread), names.join(", "))];
    if *clean > 0 {
        parts.push("nothing undeclared in them looks sensitive".to_owned());
    }
    if *unread > 0 {
        parts.push(format!("{} are no JSON, and nobody looked into them", grouped(*unread)));
    }
    if *executed > 0 {
        parts.push(format!("{} executed with two workers' tokens, with the same outcome", grouped(*executed)));
    }
    parts.join("; ")
}

/// The samples that lie with a module: beside it, or in the project in which `manyhands build` made `target/manyhands`.
fn beside(module: &Path, job: &JobName) -> Vec<PathBuf> {
    let folder = module.parent().unwrap_or(Path::new(""));
    let is_built = folder.ends_with("target/manyhands");
    let project = folder.parent().and_then(Path::parent).filter(|_| is_built).map(|root| package(root, job));
    let in_folder = |folder: &Path| {
        let one = folder.join("inputs.jsonl");
        if one.is_file() {
            return vec![one];
        }
        let entries = folder.join("samples").read_dir().ok().into_iter().flatten().flatten();
        let is_json =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_json).collect();
        files.sort();
        files
    };
    let folders = core::iter::once(folder).chain(project.as_deref());
    folders.map(in_folder).find(|files| !files.is_empty()).unwrap_or_default()
}

/// The folder of the package that is the job, where `root` is a workspace; else `root` itself.
fn package(root: &Path, job: &JobName) -> PathBuf {
    // Without a Cargo.toml there, Cargo would say so in an error, which is as good.
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec().ok();
    let found = metadata.and_then(|all| all.packages.into_iter().find(|package| package.name.as_str() == job.as_str()));
    let folder = found.and_then(|package| package.manifest_path.parent().map(|folder| folder.as_std_path().to_owned()));
    folder.unwrap_or_else(|| root.to_owned())
}

fn read(files: &[PathBuf]) -> impl Iterator<Item = Result<Sample>> {
    files.iter().flat_map(|file| -> Box<dyn Iterator<Item = Result<Sample>>> {
        let sample = move |(line, input)| Sample { file: file.clone(), line, input };
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            return Box::new(core::iter::once_with(move || read_whole(file).map(|input| sample((1, input)))));
        }
        match lines(file) {
            Ok(lines) => Box::new(lines.map(move |line| line.map(sample))),
            Err(fault) => Box::new(core::iter::once(Err(fault))),
        }
    })
}

/// What was found in all samples, by what declares it.
#[derive(Default)]
struct Found(BTreeMap<(String, &'static str, bool), (String, Finding)>);

impl Found {
    fn add(&mut self, sample: &Sample, finding: Finding) {
        let key = (finding.declare.clone(), finding.class.word(), matches!(finding.why, Why::Key(_)));
        if let Some((_, known)) = self.0.get_mut(&key) {
            known.count += finding.count;
            return;
        }
        let line = sample.line + finding.line as u64 - 1;
        self.0.insert(key, (format!("{}:{line}:{}", sample.file.display(), finding.column), finding));
    }

    /// Refuses if there is anything.
    fn judge(self, manifest: &Manifest) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let all: Vec<(String, Finding)> = self.0.into_values().collect();
        let shown = &all[..all.len().min(SHOWN_MAX)];
        let row = |(place, finding): &(String, Finding)| {
            let more = if finding.count > 1 {
                format!(", and {} more", grouped(finding.count as u64 - 1))
            } else {
                String::new()
            };
            let at = if finding.at.is_empty() {
                "the whole input".to_owned()
            } else {
                printable(&finding.at).replace('\n', " ")
            };
            [format!("  {place}"), at, finding.class.to_string(), format!("{}{more}", finding.why)]
        };
        let rows: Vec<[String; 4]> = shown.iter().map(row).collect();
        let places = match all.len() {
            1 => "at one place of the samples stands".to_owned(),
            more => format!("at {} places of the samples stands", grouped(more as u64)),
        };
        let mut message = format!("{places} what looks sensitive and is not declared: every worker would see it\n");
        message += &table(["  WHERE", "WHAT", "CLASS", "WHY"], &rows);
        if all.len() > shown.len() {
            message += &format!("\n  … and {} more", all.len() - shown.len());
        }
        Err(Fault::job(message).help(cure(shown, manifest)))
    }
}

/// What to write into the manifest, or what to add to the command line.
fn cure(found: &[(String, Finding)], manifest: &Manifest) -> String {
    let (keys, values): (Vec<_>, Vec<_>) =
        found.iter().map(|(_, finding)| finding).partition(|finding| matches!(finding.why, Why::Key(_)));
    let mut lines = Vec::new();
    if !values.is_empty() && manifest.codec == Codec::Json {
        lines.push(
            "so that workers get tokens instead, let the fields have types of `manyhands::token`, or add".to_owned(),
        );
        lines.push(
            "to `sensitive` below [package.metadata.manyhands] in Cargo.toml (or in a manifest, as JSON):".to_owned(),
        );
        lines.extend(values.iter().map(|finding| {
            let at = toml::Value::from(printable(&finding.declare));
            format!("  {{ at = {at}, class = \"{}\" }},", finding.class)
        }));
    } else if !values.is_empty() {
        lines.push(
            "only inputs of codec `json` can have declared fields; give the job that codec, and declare them"
                .to_owned(),
        );
    }
    if !keys.is_empty() {
        lines.push(
            "names of members cannot be declared: let them be values in a list of objects, or declare the whole object"
                .to_owned(),
        );
    }
    let narrow = found.iter().map(|(_, finding)| &finding.declare).find(|declare| !declare.is_empty());
    lines.push(match narrow {
        Some(place) => format!("if workers may see it: --allow-undeclared {}", shell(&printable(place))),
        // Such as a member's name in the outermost object: what holds it is everything.
        None => "if workers may see all of the input, which nobody looks at then: --allow-undeclared ''".to_owned(),
    });
    lines.join("\n  ")
}

/// An argument as a shell reads it.
fn shell(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rest: &str) -> Manifest {
        serde_json::from_str(&format!(r#"{{"name":"a","version":"0.1.0","abi":1{rest}}}"#)).expect("a manifest")
    }

    fn judge(inputs: &[&str], manifest: &Manifest) -> Result<()> {
        let mut found = Found::default();
        for (line, input) in (1..).zip(inputs) {
            let sample = Sample { file: "inputs.jsonl".into(), line, input: input.as_bytes().to_vec() };
            let findings = look(&sample.input, &manifest.sensitive).expect("JSON");
            findings.into_iter().for_each(|finding| found.add(&sample, finding));
        }
        found.judge(manifest)
    }

    #[test]
    fn what_is_found_is_told_with_place_class_and_cure_and_never_shown() {
        let samples = [
            r#"{"id":1,"to":[{"mail":"ann.lee@example.com"}]}"#,
            r#"{"id":2,"to":[{"mail":"bob.ray@example.com"}],"ibans":["GB82WEST12345698765432"]}"#,
        ];
        let fault = judge(&samples, &manifest("")).expect_err("refused");
        let told = fault.to_string();
        for part in [
            "at 2 places",
            "inputs.jsonl:1:23",
            "/to/0/mail",
            "an e-mail address, and 1 more",
            "inputs.jsonl:2:",
            "{ at = \"$.to[*].mail\", class = \"email\" },",
            "--allow-undeclared '$.ibans[*]'",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("ann") && !told.contains("bob") && !told.contains("WEST"), "{told}");
        let declared = r#","sensitive":[{"at":"$.to[*].mail","class":"email"},{"at":"/ibans","class":"iban"}]"#;
        assert_eq!(judge(&samples, &manifest(declared)), Ok(()));
        // What cannot be declared is said.
        let raw = judge(&samples, &manifest(r#","codec":"raw""#)).expect_err("refused").to_string();
        assert!(raw.contains("give the job that codec"), "{raw}");
        let key = judge(&[r#"{"ann.lee@example.com":1}"#], &manifest("")).expect_err("refused").to_string();
        assert!(
            key.contains("names of members") && !key.contains("lee") && key.contains("--allow-undeclared ''"),
            "{key}"
        );
        assert!(key.contains("all of the input, which nobody looks at then"), "{key}");
        let two = [r#"{"ann.lee@example.com":1,"to":"bob.ray@example.com"}"#];
        let two = judge(&two, &manifest("")).expect_err("refused").to_string();
        assert!(two.contains("--allow-undeclared /to") && !two.contains("--allow-undeclared ''"), "{two}");
    }

    #[test]
    fn samples_are_found_where_builds_leave_modules() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = |module: &Path| beside(module, &"a".parse().expect("a name"));
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, "1\n\n2\n").expect("written");
            path
        };
        let module = write("target/manyhands/a.wasm");
        assert_eq!(found(&module), Vec::<PathBuf>::new());
        let [b, a] = ["samples/b.json", "samples/a.jsonl"].map(write);
        write("samples/notes.txt");
        assert_eq!(found(&module), [a.clone(), b.clone()]);
        let places: Vec<String> = read(&[a, b]).map(|sample| sample.expect("reads").place()).collect();
        assert_eq!(places.len(), 3);
        assert!(places[1].ends_with("a.jsonl:3"), "{places:?}");
        let project = write("inputs.jsonl");
        assert_eq!(found(&module), [project]);
        // Of a workspace, the package's.
        std::fs::write(folder.path().join("Cargo.toml"), "[workspace]\nmembers = [\"jobs/a\"]\nresolver = \"3\"")
            .expect("written");
        let member = write("jobs/a/inputs.jsonl");
        write("jobs/a/src/lib.rs");
        std::fs::write(folder.path().join("jobs/a/Cargo.toml"), "[package]\nname = \"a\"\nversion = \"0.1.0\"")
            .expect("written");
        assert_eq!(found(&module), [member]);
        let own = write("target/manyhands/inputs.jsonl");
        assert_eq!(found(&module), [own]);
        // Another folder has no project around it.
        assert_eq!(found(&write("x/y/z.wasm")), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_argument_survives_the_shell() {
        assert_eq!(["/a/b", "$.a[*]", "it's", ""].map(shell), ["/a/b", "'$.a[*]'", r"'it'\''s'", "''"]);
    }
}
