;; Counts the primes in a range, and adds up the counts of neighbouring ranges.
;;
;; Written by hand, without a compiler: docs/abi.md is all that this knows of Manyhands. The input is [FROM,TO], at most
;; a million apart and TO not among them; the output is how many of these numbers are prime.
;;
;;     manyhands build jobs/primes/primes.wat
;;     manyhands run target/manyhands/primes.wasm --inputs jobs/primes/inputs.jsonl
(module
  (import "manyhands_v1" "input_len" (func $input_len (result i32)))
  (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
  (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
  (import "manyhands_v1" "abort" (func $abort (param i32 i32 i32)))

  ;; The first page holds the messages, digits that are to be written (up to 256) and the input (from 1024);
  ;; the other sixteen have a byte for each number of the range: whether it has a divisor.
  (memory (export "memory") 17)
  (data (i32.const 0) "the input is not [FROM,TO]")
  (data (i32.const 64) "TO is before FROM, more than 1000000 after it, or above 1000000000000")

  ;; What is read next, and where the text ends.
  (global $at (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))

  (func $read_input
    (if (i32.gt_u (call $input_len) (i32.const 32768))
      (then (call $abort (i32.const 1) (i32.const 0) (i32.const 26)) unreachable))
    (call $input_read (i32.const 1024) (i32.const 0) (call $input_len))
    (global.set $at (i32.const 1024))
    (global.set $end (i32.add (i32.const 1024) (call $input_len))))

  ;; The next byte of the text; 0 where it has ended.
  (func $peek (result i32)
    (if (result i32) (i32.lt_u (global.get $at) (global.get $end))
      (then (i32.load8_u (global.get $at)))
      (else (i32.const 0))))

  ;; Goes past one byte that must be this one.
  (func $expect (param $byte i32)
    (if (i32.ne (call $peek) (local.get $byte))
      (then (call $abort (i32.const 1) (i32.const 0) (i32.const 26)) unreachable))
    (global.set $at (i32.add (global.get $at) (i32.const 1))))

  ;; Reads decimal digits, of which there may be none.
  (func $number (result i64) (local $value i64) (local $digit i32)
    (block $done
      (loop $next
        (local.set $digit (i32.sub (call $peek) (i32.const 48)))
        (br_if $done (i32.gt_u (local.get $digit) (i32.const 9)))
        ;; No byte is 256: a number that is too long for 64 bits ends here.
        (if (i64.gt_u (local.get $value) (i64.const 100000000000000000)) (then (call $expect (i32.const 256))))
        (local.set $value (i64.add (i64.mul (local.get $value) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (br $next)))
    (local.get $value))

  ;; Writes a number to the output, its last digit at byte 255.
  (func $write (param $value i64) (local $to i32)
    (local.set $to (i32.const 256))
    (loop $next
      (local.set $to (i32.sub (local.get $to) (i32.const 1)))
      (i32.store8 (local.get $to)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10)))))
      (local.set $value (i64.div_u (local.get $value) (i64.const 10)))
      (br_if $next (i64.ne (local.get $value) (i64.const 0))))
    (call $output_write (local.get $to) (i32.sub (i32.const 256) (local.get $to))))

  (func (export "manyhands_run")
    (local $from i64) (local $to i64) (local $divisor i64) (local $multiple i64) (local $count i64)
    (call $read_input)
    (call $expect (i32.const 91))
    (local.set $from (call $number))
    (call $expect (i32.const 44))
    (local.set $to (call $number))
    (call $expect (i32.const 93))
    (if (i32.or (i64.gt_u (i64.sub (local.get $to) (local.get $from)) (i64.const 1000000))
                (i64.gt_u (local.get $to) (i64.const 1000000000000)))
      (then (call $abort (i32.const 1) (i32.const 64) (i32.const 69)) unreachable))

    ;; Marks what 2, 3, 5, 7, 9, … divide, up to the root of the largest number.
    (local.set $divisor (i64.const 2))
    (block $marked
      (loop $divisors
        (local.set $multiple (i64.mul (local.get $divisor) (local.get $divisor)))
        (br_if $marked (i64.ge_u (local.get $multiple) (local.get $to)))
        (if (i64.lt_u (local.get $multiple) (local.get $from))
          (then (local.set $multiple (i64.mul (local.get $divisor)
            (i64.div_u (i64.add (local.get $from) (i64.sub (local.get $divisor) (i64.const 1))) (local.get $divisor))))))
        (block $divided
          (loop $multiples
            (br_if $divided (i64.ge_u (local.get $multiple) (local.get $to)))
            (i32.store8 offset=65536 (i32.wrap_i64 (i64.sub (local.get $multiple) (local.get $from))) (i32.const 1))
            (local.set $multiple (i64.add (local.get $multiple) (local.get $divisor)))
            (br $multiples)))
        (local.set $divisor (i64.add (local.get $divisor)
          (select (i64.const 1) (i64.const 2) (i64.eq (local.get $divisor) (i64.const 2)))))
        (br $divisors)))

    ;; Counts what is not marked, 0 and 1 left out.
    (local.set $multiple (select (local.get $from) (i64.const 2) (i64.gt_u (local.get $from) (i64.const 2))))
    (block $counted
      (loop $numbers
        (br_if $counted (i64.ge_u (local.get $multiple) (local.get $to)))
        (local.set $count (i64.add (local.get $count) (i64.extend_i32_u (i32.eqz
          (i32.load8_u offset=65536 (i32.wrap_i64 (i64.sub (local.get $multiple) (local.get $from))))))))
        (local.set $multiple (i64.add (local.get $multiple) (i64.const 1)))
        (br $numbers)))
    (call $write (local.get $count)))

  ;; The frame of parts: how many, and for each its length and its digits.
  (func (export "manyhands_reduce") (local $left i32) (local $sum i64)
    (call $read_input)
    (local.set $left (i32.load (i32.const 1024)))
    (global.set $end (i32.const 1028))
    (block $done
      (loop $parts
        (br_if $done (i32.eqz (local.get $left)))
        (global.set $at (i32.add (global.get $end) (i32.const 4)))
        (global.set $end (i32.add (global.get $at) (i32.load (global.get $end))))
        (local.set $sum (i64.add (local.get $sum) (call $number)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $parts)))
    (call $write (local.get $sum))))
