//! Differences are kept, with all that is needed to see them again.

use std::path::Path;

use anyhow::Context as _;

use crate::team::Task;

/// Writes differences down: the module as it was given to the sealer and as it was executed, what it read, and the command that shows them again.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn keep(
    folder: &Path,
    replay: &str,
    [source, sealed]: [&[u8]; 2],
    tasks: &[Task],
    differences: &[String],
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.join(name);
        std::fs::write(&file, bytes).with_context(|| format!("{} cannot be written", file.display()))
    };
    write("source.wasm", source)?;
    write("sealed.wasm", sealed)?;
    let mut report = format!("{replay}\n\n{}\n", differences.join("\n"));
    for (number, task) in tasks.iter().enumerate() {
        write(&format!("input-{number}"), &task.input)?;
        let Task { entry, step, fuel, .. } = task;
        report.push_str(&format!("task {number}: {entry:?}, step {step}, fuel {fuel}\n"));
    }
    write("report.txt", report.as_bytes())?;
    eprintln!("   DIFFERENCE in {}: {}", folder.display(), differences.first().map_or("", String::as_str));
    Ok(())
}
