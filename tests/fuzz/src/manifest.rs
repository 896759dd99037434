//! Manifests: JSON in a custom section of a module that a stranger built.

use manyhands_abi::MANIFEST_SECTION;
use manyhands_intents::Plan;
use manyhands_model::Manifest;
use manyhands_sealer::seal;
use wasm_encoder::{
    CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection, Instruction, MemorySection,
    MemoryType, Module, TypeSection,
};

use crate::promise;

/// For each byte of a manifest, of which there are 64 KiB: a verb's body is read as a tree, with a node for every two bytes.
const BYTES_PER_BYTE: u64 = 64;
const FREE_BYTES: u64 = 64 << 10;

/// Runs the target.
pub fn run(json: &[u8]) -> bool {
    let parsed = promise::bounded_by(BYTES_PER_BYTE * json.len() as u64 + FREE_BYTES, || {
        serde_json::from_slice::<Manifest>(json)
    })
    .ok();
    if let Some(manifest) = &parsed {
        let written = serde_json::to_vec(manifest).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&written).as_ref().ok(), Some(manifest), "another one came back");
    }
    match seal(&module(json)) {
        Ok(sealed) => {
            assert_eq!(Some(&sealed.manifest), parsed.as_ref(), "the sealer reads another manifest");
            assert_eq!(sealed.manifest.limits.check(), Ok(()), "limits that no coordinator grants");
            let page = Plan::of(&sealed.manifest).expect("a sealed manifest has a plan").to_string();
            let plain = |line: &str| line.chars().count() <= 80 && !line.chars().any(char::is_control);
            assert!(page.lines().all(plain), "a page that no terminal shows:\n{page}");
            true
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty(), "refused without a word");
            false
        }
    }
}

/// The shortest and the longest.
pub fn seeds() -> Vec<Vec<u8>> {
    let full = r#"{"name":"a-1","version":"1.2.3-rc.1+5","abi":1,"description":"Say “hé”\n","codec":"postcard",
        "limits":{"fuel":5,"memory_bytes":131072,"output_bytes":1,"wall_ms":3600000}}"#;
    let sensitive = r#"{"name":"a","version":"0.1.0","abi":1,"sensitive":[{"at":"/a~1b","class":"email","reveal":"domain"},
        {"at":"$..b['c\\''][*][0]","class":"card","joinable":true},{"at":"","class":"iban","surrogate":true}]}"#;
    let verbs = r#"{"name":"a","version":"0.1.0","abi":1,"verbs":{"v":{"method":"POST","origin":"https://a.example:81","path":"/x/{i}",
        "query":{"q":"{n}"},"headers":{"A":"b {secret:c}"},"json":{"t":["{t}",1.5,"{ x }"],"d":"{d}","e":"{e}"},"slots":{"i":{"type":"id",
        "bytes_max":9},"n":{"type":"integer","min":-1,"max":1},"t":{"type":"text","bytes_max":9,"classes":["name"]},"d":{"type":"date"},
        "e":{"type":"enum","values":["a"]}},"answer":{"f":{"at":"/a~1","type":"text","class":"text"},"g":{"at":"/b","type":"boolean"}},
        "effect":"keyed","idempotency_header":"k","limits":{"request_bytes":1,"answer_bytes":1,"total_ms":1},"budget":{"per_run":1,"per_day":2}}}}"#;
    [r#"{"name":"a","version":"0.1.0","abi":1}"#, full, sensitive, verbs].map(|json| json.as_bytes().to_vec()).into()
}

/// The smallest job with this manifest.
fn module(json: &[u8]) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut exports = ExportSection::new();
    exports.export(manyhands_abi::MEMORY, ExportKind::Memory, 0);
    exports.export(manyhands_abi::RUN, ExportKind::Func, 0);
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instruction(&Instruction::End);
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
    module.section(&CustomSection { name: MANIFEST_SECTION.into(), data: json.into() });
    module.finish()
}
