//! Modules, as the sealer takes them from a publisher.

use manyhands_sealer::seal;

use crate::promise;

/// Runs the target.
pub fn run(module: &[u8]) -> bool {
    // A validator keeps a type, and a pass what it knows of each instruction, for a byte or two of the module. Their
    // numbers have caps, so this is a line with a slope and not an explosion.
    let sealed = promise::bounded_by(256 * module.len() as u64 + (1 << 20), || seal(module));
    match sealed {
        Ok(sealed) => {
            assert_eq!(seal(module).as_ref(), Ok(&sealed), "sealed again, and to something else");
            assert!(seal(&sealed.bytes).is_err(), "a sealed module is taken for one that is not");
            // An instruction of a byte may get a charge of nine before it.
            assert!(sealed.bytes.len() <= 10 * module.len() + 512, "sealing makes it larger than it may");
            true
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty(), "refused without a word");
            false
        }
    }
}

/// Small jobs with something of everything that is accepted.
pub fn seeds() -> Vec<Vec<u8>> {
    let fields = [
        r#"(memory (export "memory") 1) (func (export "manyhands_run"))"#,
        r#"(import "manyhands_v1" "input_len" (func $input_len (result i32)))
           (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
           (type $pair (func (param i32) (result i32 i32)))
           (memory (export "memory") 2 16) (table 2 2 funcref) (global $sum (mut i64) (i64.const -3))
           (elem (i32.const 0) $two $two) (data (i32.const 8) "hello") (data $late "later")
           (func $two (type $pair) (local.get 0) (i32.const 7))
           (func (export "manyhands_run") (local $v v128) (local $f f64)
             (local.set $f (f64.div (f64.const 1) (f64.convert_i32_s (call $input_len))))
             (local.set $v (i8x16.add (local.get $v) (v128.const i64x2 1 2)))
             (memory.init $late (i32.const 0) (i32.const 0) (i32.const 2)) (data.drop $late)
             (global.set $sum (i64.trunc_sat_f64_s (local.get $f)))
             (if (i32.extend8_s (i32.const 200)) (then (unreachable)))
             (block $out (loop $again (br_table $out $again (i32.const 0))))
             (call $output_write (call_indirect (type $pair) (i32.const 1) (i32.const 0))))
           (func (export "manyhands_reduce")) (@custom "producers" "somebody")"#,
    ];
    let manifest = r#"(@custom "manyhands.manifest" "{\"name\":\"t\",\"version\":\"1.0.0\",\"abi\":1}")"#;
    fields.iter().map(|fields| wat::parse_str(format!("(module {fields} {manifest})")).unwrap()).collect()
}
