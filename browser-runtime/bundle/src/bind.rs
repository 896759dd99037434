//! What wasm-bindgen makes of a program, without what it writes for programs of every kind and these do without: other ways
//! to be loaded, engines that are older than any that could execute a unit, objects, and memory that is freed in the end.
//!
//! Each cut names the text that it expects, so another version of wasm-bindgen fails here and not in a browser.

use std::path::Path;

use anyhow::{Context as _, bail};
use wasm_bindgen_cli_support::Bindgen;

/// Text of the glue: where it begins, where it ends, the end included, and what comes in its place.
type Cut = (&'static str, &'static str, &'static str);

/// Where the glue has the first, it has all of these.
const CUTS: [(&str, &[Cut]); 3] = [
    (
        "let wasm_bindgen",
        &[
            ("let script_src;\n", "location.href).toString();\n}\n", ""),
            ("__wbindgen_init_externref_table: function() {", "\n},\n", ""),
            (
                "function passArray8ToWasm0(arg, malloc) {\nconst ptr = malloc(arg.length * 1, 1)",
                " >>> 0;\n",
                "function passArray8ToWasm0(arg) {\nconst ptr = wasm.__wbindgen_malloc(arg.length, 1) >>> 0;\n",
            ),
            // Loaded at once, from bytes: it is so in a Web Worker, where nobody waits for anything else.
            (
                "let wasmModule, wasmInstance, wasm;\n",
                "return Object.assign(__wbg_init, { initSync }, exports);\n",
                "let wasm;\n\
                 const load = (bytes) => {\n\
                 wasm = new WebAssembly.Instance(new WebAssembly.Module(bytes), __wbg_get_imports()).exports;\n\
                 };\n\
                 return Object.assign(load, exports);\n",
            ),
        ],
    ),
    (
        "passStringToWasm0",
        &[
            ("if (!('encodeInto' in", "};\n};\n}\n", ""),
            (
                "function passStringToWasm0(arg, malloc, realloc) {\n",
                "WASM_VECTOR_LEN = offset;\nreturn ptr;\n}\n",
                "const passStringToWasm0 = (arg) => passArray8ToWasm0(cachedTextEncoder.encode(arg));\n",
            ),
        ],
    ),
    (
        "class Mind {",
        &[
            ("__destroy_into_raw() {\n", "wasm.__wbg_mind_free(ptr, 0);\n}\n", ""),
            ("MindFinalization.register(obj, obj.__wbg_ptr, obj);\n", "", ""),
            ("if (Symbol.dispose)", ";\n", ""),
            ("const MindFinalization =", "wasm.__wbg_mind_free(ptr, 1));\n", ""),
        ],
    ),
];

/// What nobody calls after that.
const UNCALLED: [&str; 6] = [
    "__wbg_mind_free",
    "__wbindgen_start",
    "__wbindgen_realloc",
    "__wbindgen_externrefs",
    "__abort_handler",
    "__instance_terminated",
];

/// The WebAssembly that browsers get, and the script that calls it: `wasm_bindgen(bytes)` loads it.
pub(crate) fn bind(program: &Path) -> anyhow::Result<(Vec<u8>, String)> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(program).no_modules(true)?.typescript(false).omit_default_module_path(true);
    bindgen.remove_name_section(true).remove_producers_section(true);
    let mut bound = bindgen.generate_output()?;
    let mut glue = crate::squeeze(&undocumented(bound.js()), "//");
    let has = |(sign, _): &&(&str, _)| glue.contains(sign);
    for cut in CUTS.iter().filter(has).flat_map(|(_, cuts)| *cuts).collect::<Vec<_>>() {
        glue = without(&glue, cut)
            .context("wasm-bindgen writes something else now; see browser-runtime/bundle/src/bind.rs")?;
    }
    glue = unguarded(&glue).replace(", wasm.__wbindgen_malloc", "").replace(", wasm.__wbindgen_realloc", "");

    let module = bound.wasm_mut();
    for name in UNCALLED {
        // Not every program has all of them.
        let _was_there = module.exports.remove(name).is_ok();
    }
    walrus::passes::gc::run(module);
    // Names of a letter, for digests that browsers would fetch.
    for (import, letter) in module.imports.iter_mut().zip('a'..='z') {
        glue = crate::replace(&glue, &format!("\n{}: function", import.name), &format!("\n{letter}: function"))?;
        glue = glue.replace(&format!("\"{}\"", import.module), "\"_\"");
        (import.module, import.name) = ("_".to_owned(), letter.to_string());
    }
    Ok((module.emit_wasm(), glue))
}

fn without(glue: &str, (begin, end, instead): &Cut) -> anyhow::Result<String> {
    let Some((before, rest)) = glue.split_once(begin) else { bail!("`{begin}` is not there") };
    let Some((_, after)) = rest.split_once(end) else { bail!("`{end}` does not follow") };
    if after.contains(begin) {
        bail!("`{begin}` is there more than once");
    }
    Ok([before, instead, after].concat())
}

/// Without what gives memory back when there is none left: then the program has ended in a trap.
fn unguarded(glue: &str) -> String {
    let mut is_guard = false;
    let is_code = |line: &&str| {
        is_guard |= *line == "} catch (e) {";
        let is_code = !is_guard && *line != "try {";
        is_guard &= *line != "}";
        is_code
    };
    glue.lines().filter(is_code).map(|line| format!("{line}\n")).collect()
}

/// The glue without the documentation that it carries over from Rust, whose lines are all its own.
fn undocumented(glue: &str) -> String {
    let mut is_documentation = false;
    let is_code = |line: &&str| {
        let line = line.trim();
        is_documentation |= line.starts_with("/**");
        let is_code = !is_documentation;
        is_documentation &= !line.ends_with("*/");
        is_code
    };
    glue.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}
