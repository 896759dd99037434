;; Every way in which an execution can end. The first byte of the input says which.
(module
  (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (elem (i32.const 0) $down $odd $even)
  (type $nothing (func))
  (type $number (func (param i32) (result i32)))
  (@custom "manyhands.manifest"
    "{\"name\":\"ends\",\"version\":\"1.0.0\",\"abi\":1,\"codec\":\"raw\",\"limits\":{\"fuel\":100000000,\"memory_bytes\":131072,\"output_bytes\":64,\"wall_ms\":10000}}")

  (func $answer (param $number i32)
    (i32.store (i32.const 16) (local.get $number))
    (call $output_write (i32.const 16) (i32.const 4)))

  ;; As deep as the number says, or for ever where it is negative.
  (func $down (param $depth i32) (result i32)
    (if (result i32) (i32.eqz (local.get $depth))
      (then (i32.const 0))
      (else (i32.add (i32.const 1) (call $down (i32.sub (local.get $depth) (i32.const 1)))))))

  ;; Through the table, and with large frames.
  (func $odd (param $n i32) (result i32)
    (local v128 v128 v128 v128 v128 v128 v128 v128)
    (call_indirect (type $number) (i32.add (local.get $n) (i32.const 1)) (i32.const 2)))
  (func $even (param $n i32) (result i32)
    (call_indirect (type $number) (i32.add (local.get $n) (i32.const 1)) (i32.const 1)))

  (func (export "manyhands_run") (local $n i32)
    (call $input_read (i32.const 0) (i32.const 0) (i32.const 1))
    (block $x (block $w (block $v (block $u (block $t (block $s (block $r (block $q (block $p (block $o (block $n_ (block $m (block $l (block $k
    (block $j (block $i (block $h (block $g (block $f (block $e (block $d (block $c (block $b (block $a
      (br_table $a $b $c $d $e $f $g $h $i $j $k $l $m $n_ $o $p $q $r $s $t $u $v $w $x
        (i32.sub (i32.load8_u (i32.const 0)) (i32.const 97))))
    ;; a: without a word
    return)
    ;; b: at an unreachable instruction, after output that is dropped
    (call $answer (i32.const 1))
    unreachable)
    ;; c: dividing by zero
    (call $answer (i32.div_s (i32.const 1) (local.get $n)))
    return)
    ;; d: with a quotient that is too large
    (call $answer (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $n) (i32.const 1))))
    return)
    ;; e: reading beyond the end of memory
    (call $answer (i32.load offset=65533 (local.get $n)))
    return)
    ;; f: making a whole number of NaN
    (call $answer (i32.trunc_f64_s (f64.div (f64.const 0) (f64.convert_i32_s (local.get $n)))))
    return)
    ;; g: calling nothing
    (call $answer (call_indirect (type $number) (i32.const 0) (i32.const 3)))
    return)
    ;; h: calling a function of another type
    (call_indirect (type $nothing) (i32.const 0))
    return)
    ;; i: calling what is not in the table
    (call $answer (call_indirect (type $number) (i32.const 0) (i32.const 4)))
    return)
    ;; j: never
    (loop $forever (br $forever)))
    ;; k: too deep
    (call $answer (call $down (i32.const -1)))
    return)
    ;; l: too deep, with large frames and through a table
    (call $answer (call $odd (i32.const 0)))
    return)
    ;; m: deep, and well
    (call $answer (call $down (i32.const 1000)))
    return)
    ;; n: with a page more of memory
    (call $answer (memory.grow (i32.const 1)))
    (call $answer (i32.load (i32.const 131068)))
    (call $answer (memory.grow (i32.const 0)))
    return)
    ;; o: with the memory that there was, since two pages more are not granted
    (call $answer (memory.grow (i32.const 2)))
    (call $answer (memory.size))
    return)
    ;; p: with the memory that there was, since there is not so much in the world
    (call $answer (memory.grow (i32.const -1)))
    (call $answer (memory.size))
    return)
    ;; q: filling beyond the end of memory
    (memory.fill (i32.const 65530) (i32.const 1) (i32.const 7))
    return)
    ;; r: copying onto itself
    (i32.store (i32.const 32) (i32.const 0x04030201))
    (memory.copy (i32.const 33) (i32.const 32) (i32.const 4))
    (call $answer (i32.load (i32.const 33)))
    return)
    ;; s: filling memory until the fuel is used up
    (loop $forever
      (memory.fill (i32.const 32) (i32.const 1) (i32.const 65504))
      (br $forever)))
    ;; t: filling memory with a length that is more fuel than there is
    (memory.fill (i32.const 0) (i32.const 0) (i32.const -1))
    return)
    ;; u: after as many steps as it takes to notice a miscount
    (loop $next
      (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000))))
    (call $answer (local.get $n))
    return)
    ;; v: never, since its steps do not meet its end
    (local.set $n (i32.const 1))
    (loop $next
      (br_if $next (i32.ne (local.tee $n (i32.add (local.get $n) (i32.const 24))) (i32.const 100))))
    (call $answer (local.get $n))
    return)
    ;; w: after all the steps that there are, which is more fuel than there is
    (loop $next
      (br_if $next (local.tee $n (i32.add (local.get $n) (i32.const -1)))))
    (call $answer (local.get $n))
    return)
    ;; x: anything else
    (call $answer (i32.const 7))))
