//! Writes every target's seeds into its corpus, in place of those that were there.

use std::fs;

use manyhands_fuzz::{TARGETS, corpora};

fn main() -> std::io::Result<()> {
    for target in TARGETS {
        let dir = corpora().join(target.name);
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("seed-") {
                fs::remove_file(entry.path())?;
            }
        }
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{number:02}")), seed)?;
        }
    }
    Ok(())
}
