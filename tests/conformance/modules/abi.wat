;; What each function of the ABI does at its edges. The first byte of the input says which of them is tried.
(module
  (import "manyhands_v1" "input_len" (func $input_len (result i32)))
  (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "manyhands_v1" "seed_read" (func $seed_read (param i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (import "manyhands_v1" "log" (func $log (param i32 i32 i32)))
  (import "manyhands_v1" "progress" (func $progress (param i32)))
  (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "gone")
  (data (i32.const 1040) "a\ffb\c3\28c\f0\9f\98")
  (@custom "manyhands.manifest"
    "{\"name\":\"abi\",\"version\":\"1.0.0\",\"abi\":1,\"codec\":\"raw\",\"limits\":{\"fuel\":1000000,\"memory_bytes\":65536,\"output_bytes\":64,\"wall_ms\":10000}}")

  (func $ok (call $output_write (i32.const 1024) (i32.const 4)))

  (func (export "manyhands_run") (local $len i32)
    (local.set $len (call $input_len))
    (call $input_read (i32.const 0) (i32.const 0) (local.get $len))
    (block $t (block $s (block $r (block $q (block $p (block $o (block $n (block $m (block $l (block $k (block $j
    (block $i (block $h (block $g (block $f (block $e (block $d (block $c (block $b (block $a
      (br_table $a $b $c $d $e $f $g $h $i $j $k $l $m $n $o $p $q $r $s $t
        (i32.sub (i32.load8_u (i32.const 0)) (i32.const 97))))
    ;; a: the rest of the input is the output
    (call $output_write (i32.const 1) (i32.sub (local.get $len) (i32.const 1)))
    return)
    ;; b: the seed is the output
    (call $seed_read (i32.const 65504))
    (call $output_write (i32.const 65504) (i32.const 32))
    return)
    ;; c: a byte beyond the end of the input
    (call $input_read (i32.const 0) (local.get $len) (i32.const 1))
    return)
    ;; d: no byte at the end of the input
    (call $input_read (i32.const 0) (local.get $len) (i32.const 0))
    (call $ok)
    return)
    ;; e: no byte beyond the end of the input
    (call $input_read (i32.const 0) (i32.add (local.get $len) (i32.const 1)) (i32.const 0))
    return)
    ;; f: output from beyond the end of memory
    (call $output_write (i32.const 65535) (i32.const 2))
    return)
    ;; g: no output from the end of memory
    (call $output_write (i32.const 65536) (i32.const 0))
    (call $ok)
    return)
    ;; h: no output from beyond the end of memory
    (call $output_write (i32.const 65537) (i32.const 0))
    return)
    ;; i: all the output that is granted, and a byte more
    (call $output_write (i32.const 0) (i32.const 64))
    (call $output_write (i32.const 0) (i32.const 1))
    return)
    ;; j: all the output that is granted, and no byte more
    (call $output_write (i32.const 2048) (i32.const 64))
    (call $output_write (i32.const 0) (i32.const 0))
    return)
    ;; k: an abort, after output that is dropped
    (call $ok)
    (call $abort (i32.const 16) (i32.const 1024) (i32.const 4))
    return)
    ;; l: an abort with the largest code, and bytes that are no UTF-8
    (call $abort (i32.const -1) (i32.const 1040) (i32.const 9))
    return)
    ;; m: an abort with too long a message, which is cut between characters
    (memory.fill (i32.const 8192) (i32.const 120) (i32.const 8192))
    (i32.store (i32.const 12287) (i32.const 0x20ac82e2))
    (call $abort (i32.const 16) (i32.const 8192) (i32.const 8192))
    return)
    ;; n: an abort with a message from beyond the end of memory
    (call $abort (i32.const 16) (i32.const 65535) (i32.const 2))
    return)
    ;; o: a log line from beyond the end of memory
    (call $log (i32.const 2) (i32.const 65535) (i32.const 2))
    return)
    ;; p: more log than is kept, levels and progress that there are not: none of it is part of the outcome
    (call $log (i32.const 9) (i32.const 0) (i32.const 65536))
    (call $log (i32.const 0) (i32.const 0) (i32.const 65536))
    (call $progress (i32.const -1))
    (call $ok)
    return)
    ;; q: a range whose end is beyond 32 bits
    (call $output_write (i32.const -1) (i32.const 2))
    return)
    ;; r: a seed that does not fit into memory
    (call $seed_read (i32.const 65505))
    return)
    ;; s: a message of three bytes that begin a character
    (call $abort (i32.const 17) (i32.const 1046) (i32.const 3))
    return)
    ;; t: anything else
    (call $ok)))
