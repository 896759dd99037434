//! The coordinator's configuration file.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::path::Path;

use manyhands_coordinator::settings::{Explained, Flags, Mistake, Settings, SettingsError};
use tempfile::NamedTempFile;

use crate::promise;

thread_local! {
    static FILE: LazyCell<NamedTempFile> = LazyCell::new(|| NamedTempFile::new().unwrap());
}

/// Runs the target.
pub fn run(text: &[u8]) -> bool {
    FILE.with(|file| {
        std::fs::write(file.path(), text).unwrap();
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        // A mistake is told in a sentence, however short it was made.
        let read = promise::bounded_by(1024 * text.len() as u64 + (256 << 10), || load(&flags));
        match read {
            Ok(settings) => {
                // The layers agree: what a file says, flags can say.
                let set = settings.explain().into_iter().filter(|setting| !setting.value.is_empty());
                let set = set.map(|Explained { key, value, .. }| format!("{key}={value}")).collect();
                let again = load(&Flags { set, ..Flags::default() }).unwrap();
                assert_eq!(values(&again), values(&settings), "flags say something else");
                true
            }
            Err(SettingsError(mistakes)) => {
                assert!(!mistakes.is_empty(), "refused without a mistake");
                let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
                for mistake in &mistakes {
                    assert!(place(mistake).is_none_or(|line| (1..=lines).contains(&line)), "no such line: {mistake}");
                }
                false
            }
        }
    })
}

/// What an operator writes.
pub fn seeds() -> Vec<Vec<u8>> {
    // Every setting at its default, as `config show` tells it.
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    for Explained { key, value, .. } in load(&Flags::default()).unwrap().explain() {
        let (section, key) = key.split_once('.').unwrap_or(("", key));
        let quoted = value.parse::<i64>().is_err() && !["true", "false"].contains(&&*value);
        let value = if quoted { format!("{value:?}") } else { value };
        if value != "\"\"" {
            sections.entry(section.to_owned()).or_default().push_str(&format!("{key} = {value}\n"));
        }
    }
    let whole: String = sections
        .iter()
        .map(|(section, lines)| match &**section {
            "" => lines.clone(),
            section => format!("[{section}]\n{lines}"),
        })
        .collect();
    [&*whole, "# nothing\n", "listen = '[::]:80' # everywhere\nlimits.module_bytes_max = 0x10_0000\n"]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

fn load(flags: &Flags) -> Result<Settings, SettingsError> {
    let variables = BTreeMap::from([("HOME".to_owned(), "/home/ada".to_owned())]);
    Settings::from_layers(flags, &variables, Path::new("/nonexistent"))
}

fn values(settings: &Settings) -> Vec<(&'static str, String)> {
    settings.explain().into_iter().map(|Explained { key, value, .. }| (key, value)).collect()
}

/// The line of the file that a mistake is said to be in.
fn place(mistake: &Mistake) -> Option<usize> {
    use manyhands_coordinator::settings::Origin::File;
    match mistake {
        Mistake::NotToml { line, .. }
        | Mistake::UnknownKey { origin: File { line, .. }, .. }
        | Mistake::BadValue { origin: File { line, .. }, .. } => Some(*line),
        _ => None,
    }
}
