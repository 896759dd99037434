//! V8, by a script that Node executes as a process of its own.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use manyhands_model::Limits;
use serde::Deserialize;
use serde_json::json;

use super::corpus::Kernel;
use super::forms::Forms;
use super::{Measured, Variant};

const SCRIPT: &str = include_str!("node.mjs");

#[derive(Deserialize)]
struct Answer {
    times: BTreeMap<String, Vec<f64>>,
    // Numbers of 64 bits, as text.
    output: String,
    fuel: Option<String>,
}

/// `None` where there is no Node.
pub(crate) fn measure(
    kernels: &[Kernel],
    forms: &[Forms],
    rounds: &[u32],
    repetitions: usize,
) -> Option<Vec<Measured>> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let plan: Vec<_> = kernels
        .iter()
        .zip(forms)
        .zip(rounds)
        .map(|((kernel, forms), rounds)| {
            let modules: BTreeMap<&str, _> = modules(forms)
                .into_iter()
                .map(|(variant, module)| {
                    let path = folder.path().join(format!("{}-{variant:?}.wasm", kernel.name));
                    std::fs::write(&path, module).expect("a module is written");
                    (variant.word(), path)
                })
                .collect();
            json!({ "name": kernel.name, "rounds": rounds, "modules": modules })
        })
        .collect();
    let plan = json!({ "repetitions": repetitions, "fuel": Limits::MAX.fuel.0, "kernels": plan });
    let script = folder.path().join("node.mjs");
    std::fs::write(&script, SCRIPT).expect("the script is written");
    let mut node = Command::new("node");
    let started = node.arg("--expose-gc").arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut node = match started {
        Ok(node) => node,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("Node cannot be started: {error}"),
    };
    // Dropped after the plan is written, so that the script sees its end.
    node.stdin.take().map(|mut stdin| stdin.write_all(plan.to_string().as_bytes()));
    let output = node.wait_with_output().expect("Node ends");
    assert!(output.status.success(), "Node: {}", output.status);
    let answers: Vec<Answer> = serde_json::from_slice(&output.stdout).expect("an answer");
    Some(answers.into_iter().map(measured).collect())
}

fn modules(forms: &Forms) -> [(Variant, &[u8]); 4] {
    [
        (Variant::Unsealed, &forms.unsealed),
        (Variant::Metered, &forms.metered),
        (Variant::Sealed, &forms.sealed),
        (Variant::Control, &forms.control),
    ]
}

fn measured(answer: Answer) -> Measured {
    let number = |text: String| text.parse().expect("a number");
    let variant = |word: &str| Variant::ALL.into_iter().find(|variant| variant.word() == word).expect("a variant");
    Measured {
        times: answer.times.into_iter().map(|(word, times)| (variant(&word), times)).collect(),
        output: number(answer.output),
        fuel: answer.fuel.map(number),
    }
}
