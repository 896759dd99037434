//! What jobs may leave with a browser, and what is refused: the story of records.js, in Node with a store in memory. The same
//! file can be executed in a browser, with the store that is kept.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn what_jobs_leave_stays_and_has_its_limits() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(here.join(name)).unwrap();
    let scripts = ["../web/store.js", "../web/held.js", "../web/records.js", "tests/held.js"].map(read).join("\n");
    let began = "globalThis.self = globalThis; globalThis.isSecureContext = false;";
    let script = format!("{began}\n{scripts}\nawait heldStory(await Store.open(\"story\"));\n");
    let node =
        Command::new("node").args(["--input-type=module", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut node = match node {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("left out: Node is not installed; on Debian and Ubuntu `sudo apt install nodejs` brings it");
            return;
        }
        started => started.expect("Node starts"),
    };
    node.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let ended = node.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
