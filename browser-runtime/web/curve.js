// Ed25519 for a browser that has none, in a Web Worker of the mind's: `wasm_bindgen` of curve/src/lib.rs, whose glue comes ahead
// of this in the same file. It is asked [name, ...arguments] and answers by the port that comes with the question.

// In base64; filled in when the files are made.
const CODE = "";

wasm_bindgen(Uint8Array.from(atob(CODE), (byte) => byte.charCodeAt()));
onmessage = ({ data: [name, ...given], ports: [asker] }) => asker.postMessage(wasm_bindgen[name](...given));
