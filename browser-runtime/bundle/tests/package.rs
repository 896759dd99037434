//! The folder for npm: its version is ours, a server can import it, and `npm pack` takes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What a program says, or that it is missing.
fn run(program: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    match Command::new(program).args(arguments).current_dir(folder).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!(
                "left out: {program} is not installed; on Debian and Ubuntu `sudo apt install nodejs npm` brings it"
            );
            None
        }
        ended => {
            let ended = ended.unwrap();
            assert!(ended.status.success(), "{program}: {}", String::from_utf8_lossy(&ended.stderr));
            Some(String::from_utf8(ended.stdout).unwrap())
        }
    }
}

#[test]
fn the_package_can_be_packed_and_imported_where_there_are_no_elements() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web");
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(web.join("package")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let read = |name: &&str| fs::read_to_string(web.join(name)).unwrap();
    for (file, scripts) in [
        ("index.js", &["words.js", "store.js", "held.js", "volunteer.js"][..]),
        ("records.js", &["store.js", "held.js", "records.js"]),
    ] {
        let scripts: Vec<_> = scripts.iter().map(read).collect();
        fs::write(folder.path().join(file), scripts.join("\n")).unwrap();
    }

    let manifest = fs::read_to_string(folder.path().join("package.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"), "the package's version is that of everything else");
    assert!(manifest.get("dependencies").is_none());

    let import = "Promise.all([import('manyhands-volunteer'), import('manyhands-volunteer/records')])
        .then(([{ ManyhandsVolunteer }, { Records }]) => console.log(typeof ManyhandsVolunteer, typeof Records))";
    if let Some(said) = run("node", &["-e", import], folder.path()) {
        assert_eq!(said.trim(), "function function");
    }
    if let Some(said) = run("npm", &["pack", "--dry-run", "--json", "--offline"], folder.path()) {
        let packed: serde_json::Value = serde_json::from_str(&said).unwrap();
        let files = packed[0]["files"].as_array().unwrap();
        let mut names: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["README.md", "index.d.ts", "index.js", "package.json", "records.d.ts", "records.js"]);
    }
}
