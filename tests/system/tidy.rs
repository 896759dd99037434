//! The house rules that no compiler knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use manyhands_tests::workspace;

/// The layers of `crates/`, lowest first: an arrow points down, never sideways or up.
const LAYERS: &[&[&str]] = &[
    &["manyhands-sorted", "manyhands-addresses", "manyhands-abi"],
    &["manyhands-model", "manyhands-state"],
    &["manyhands-signing", "manyhands-verifier", "manyhands-placeholder"],
    &[
        "manyhands-protocol",
        "manyhands-sealer",
        "manyhands-intents",
        "manyhands-audit",
        "manyhands-held",
        "manyhands-credit",
        "manyhands-detectors",
    ],
    &[
        "manyhands-api",
        "manyhands-decoys",
        "manyhands-scheduler",
        "manyhands-worker",
        "manyhands-javascript",
        "manyhands-blocklist",
    ],
];

/// Crates that read clocks, open sockets, touch files or start threads. None of them is below `crates/`.
const IMPURE: &[&str] =
    &["tokio", "mio", "socket2", "hyper", "reqwest", "axum", "async-std", "rayon", "tempfile", "sled", "wasmtime"];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(workspace().join("Cargo.toml")).exec().expect("cargo metadata works")
}

/// The packages in `folder`, which ends in a slash.
fn packages_in(metadata: &Metadata, folder: &str) -> BTreeMap<String, PackageId> {
    let root = workspace().join(folder);
    let here = metadata.workspace_packages().into_iter().filter(|package| package.manifest_path.starts_with(&root));
    here.map(|package| (package.name.to_string(), package.id.clone())).collect()
}

#[test]
fn arrows_point_downwards() {
    let metadata = metadata();
    let crates = packages_in(&metadata, "crates/");
    let layer = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    for (name, id) in &crates {
        let own = layer(name).unwrap_or_else(|| panic!("{name} has no layer; give it one in tests/system/tidy.rs"));
        let package = &metadata[id];
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            let Some(path) = &dependency.path else { continue };
            assert!(
                path.starts_with(workspace().join("crates")),
                "{name} decides and never acts: it must not depend on {}, which is outside crates/",
                dependency.name
            );
            assert!(
                layer(&dependency.name).is_some_and(|below| below < own),
                "{name} depends on {}, which is not in a lower layer; what both need belongs below both",
                dependency.name
            );
        }
    }
}

#[test]
fn the_core_stays_pure() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("resolved");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    for (name, id) in packages_in(&metadata, "crates/") {
        let mut open = vec![id.clone()];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            let used = &metadata[&id].name;
            assert!(!IMPURE.contains(&used.as_str()), "{name} reaches {used}, which acts; move that to host/");
            let normal = nodes[&id].deps.iter().filter(|dependency| {
                // Dev-dependencies never leave the tests; build scripts and macros run before the program does.
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
                    && !is_macro(&metadata, &dependency.pkg)
                    // Off in `crates/` itself; only the coordinator turns it on.
                    && !(name == "manyhands-api" && dependency.name == "utoipa")
            });
            open.extend(normal.map(|dependency| dependency.pkg.clone()));
        }
    }
}

fn is_macro(metadata: &Metadata, id: &PackageId) -> bool {
    metadata[id].targets.iter().any(cargo_metadata::Target::is_proc_macro)
}

#[test]
fn every_package_takes_the_workspaces_lints_and_versions() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let manifest = read_toml(package.manifest_path.as_std_path());
        let inherits = |table: &str, key: &str| {
            manifest.get(table).and_then(|table| table.get(key)).and_then(toml::Value::as_bool) == Some(true)
        };
        assert!(inherits("lints", "workspace"), "{}: add `[lints] workspace = true`", package.manifest_path);
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(kind).and_then(toml::Value::as_table) else { continue };
            for (name, value) in table {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(
                    inherited,
                    "{}: `{name}` names its own version; move that to the root Cargo.toml",
                    package.manifest_path
                );
            }
        }
        let description = package.description.as_deref().unwrap_or_default();
        assert!(description.len() > 10, "{}: say in a sentence what it is", package.manifest_path);
    }
}

#[test]
fn every_crate_is_on_the_map() {
    let map = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("there is an ARCHITECTURE.md");
    for folder in ["crates", "host"] {
        for entry in std::fs::read_dir(workspace().join(folder)).expect("a folder").flatten() {
            if entry.path().is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                assert!(map.contains(&name), "ARCHITECTURE.md says nothing about {folder}/{name}");
            }
        }
    }
}

fn read_toml(path: &Path) -> toml::Table {
    std::fs::read_to_string(path).expect("a manifest").parse().expect("TOML")
}
