;; The bits of floats: every NaN that arithmetic makes is positive and canonical, all others stay as they were. The
;; input is two doubles; the output has what is made of them, eight bytes each.
(module
  (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (memory (export "memory") 1)
  (@custom "manyhands.manifest" "{\"name\":\"floats\",\"version\":\"1.0.0\",\"abi\":1,\"codec\":\"raw\"}")

  (func (export "manyhands_run") (local $a f64) (local $b f64)
    (call $input_read (i32.const 0) (i32.const 0) (i32.const 16))
    (local.set $a (f64.load (i32.const 0)))
    (local.set $b (f64.load (i32.const 8)))
    (f64.store (i32.const 16) (f64.add (local.get $a) (local.get $b)))
    (f64.store (i32.const 24) (f64.sub (local.get $a) (local.get $b)))
    (f64.store (i32.const 32) (f64.mul (local.get $a) (local.get $b)))
    (f64.store (i32.const 40) (f64.div (local.get $a) (local.get $b)))
    (f64.store (i32.const 48) (f64.min (local.get $a) (local.get $b)))
    (f64.store (i32.const 56) (f64.max (local.get $a) (local.get $b)))
    (f64.store (i32.const 64) (f64.sqrt (local.get $a)))
    (f64.store (i32.const 72) (f64.nearest (local.get $a)))
    ;; Signs are bits: of the operands as they are, and of what arithmetic made.
    (f64.store (i32.const 80) (f64.neg (local.get $a)))
    (f64.store (i32.const 88) (f64.copysign (local.get $a) (local.get $b)))
    (f64.store (i32.const 96) (f64.copysign (f64.const 1) (f64.sub (local.get $a) (local.get $b))))
    (f64.store (i32.const 104) (f64.promote_f32 (f32.demote_f64 (local.get $a))))
    ;; Lanes of vectors, two by two.
    (v128.store (i32.const 112) (f64x2.mul (f64x2.splat (local.get $a)) (v128.load (i32.const 0))))
    (v128.store (i32.const 128) (f64x2.pmin (f64x2.splat (local.get $a)) (v128.load (i32.const 0))))
    (v128.store (i32.const 144) (f64x2.max (f64x2.splat (local.get $a)) (v128.load (i32.const 0))))
    (call $output_write (i32.const 16) (i32.const 144))))
