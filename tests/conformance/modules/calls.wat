;; What calls do at their edges, chosen by the first byte of the input; the rest of the input is the request.
;;
;; 0 to 9  asks so often, and writes this byte and all answers
;; m       asks for ever
;; l       asks with one byte more than a request may have
;; r       reads one byte more of the answers than there are
;; n       reads nothing of no answers
(module
  (import "manyhands_v1" "input_len" (func $input_len (result i32)))
  (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (import "manyhands_v1" "call_all" (func $call (param i32 i32) (result i32)))
  (import "manyhands_v1" "answer_read" (func $answer_read (param i32 i32 i32)))
  (memory (export "memory") 8)
  (func $ask (result i32)
    (call $call (i32.const 1) (i32.sub (call $input_len) (i32.const 1))))
  (func (export "manyhands_run") (local $kind i32) (local $bytes i32)
    (call $input_read (i32.const 0) (i32.const 0) (call $input_len))
    (local.set $kind (i32.load8_u (i32.const 0)))
    (if (i32.eq (local.get $kind) (i32.const 0x6d)) ;; m
      (then (loop $again (drop (call $ask)) (br $again))))
    (if (i32.eq (local.get $kind) (i32.const 0x6c)) ;; l
      (then (drop (call $call (i32.const 0) (i32.const 262145)))))
    (if (i32.eq (local.get $kind) (i32.const 0x72)) ;; r
      (then (call $answer_read (i32.const 0) (i32.const 0) (i32.add (call $ask) (i32.const 1)))))
    (if (i32.eq (local.get $kind) (i32.const 0x6e)) ;; n
      (then (call $answer_read (i32.const 0) (i32.const 0) (i32.const 0)) (return)))
    (call $output_write (i32.const 0) (i32.const 1))
    (local.set $kind (i32.sub (local.get $kind) (i32.const 0x30)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $kind)))
        (local.set $bytes (call $ask))
        (call $answer_read (i32.const 0x10000) (i32.const 0) (local.get $bytes))
        (call $output_write (i32.const 0x10000) (local.get $bytes))
        (local.set $kind (i32.sub (local.get $kind) (i32.const 1)))
        (br $next))))
  (@custom "manyhands.manifest"
    "{\"name\":\"calls\",\"version\":\"0.1.0\",\"abi\":1,\"codec\":\"raw\",\"verbs\":{\"a\":{\"method\":\"GET\",\"origin\":\"https://example.com\",\"path\":\"/\",\"effect\":\"safe\",\"budget\":{\"per_run\":1}}}}"))
