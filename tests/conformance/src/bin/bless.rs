//! Writes the fuel of each case into `corpus.json`: after a change of the cost table, of a module, or a new case.

use std::error::Error;

use manyhands_conformance::{corpus, corpus_file};
use manyhands_runner::engine::Wasm;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = corpus()?;
    let wasm = Wasm::new()?;
    let mut lines = Vec::new();
    for mut case in corpus.cases {
        if case.has_known_fuel()
            && let Some(Ok(sealed)) = corpus.modules.get(&case.module)
        {
            let prepared = wasm.prepare(&wasm.compile(&sealed.bytes)?)?;
            let executed = wasm.execute(&prepared, case.execution(sealed)?, Box::new(|_| ()))?;
            case.fuel = Some(executed.outcome.fuel);
        }
        lines.push(format!("  {}", serde_json::to_string(&case)?));
    }
    std::fs::write(corpus_file(), format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(())
}
