;; Loops that count, which are paid for before their first iteration. Each gives how often it went round.
(module
  (func (export "up") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $count))
  (func (export "down") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.ne (local.get $n) (local.tee $i (i32.add (local.get $i) (i32.const -1))))))
    (local.get $count))
  (func (export "down to zero") (param $i i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (local.tee $i (i32.add (local.get $i) (i32.const -4)))))
    (local.get $count))
  (func (export "up to a constant") (param $i i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 24))) (i32.const 240))))
    (local.get $count))
  (func (export "by pages") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 65536))) (local.get $n))))
    (local.get $count))
  (func (export "by more than pages") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const -131072))) (local.get $n))))
    (local.get $count))
  ;; The step does not go into the way; only as often around as it takes to meet the end.
  (func (export "around") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 0x15555558))) (local.get $n))))
    (local.get $count))
  (func (export "of 64 bits") (param $i i64) (param $n i64) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i64.ne (local.tee $i (i64.add (local.get $i) (i64.const 1))) (local.get $n))))
    (local.get $count))
  (func (export "with arms") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (if (i32.and (local.get $i) (i32.const 1))
        (then (local.set $count (i32.add (local.get $count) (i32.const 1))))
        (else (local.set $count (i32.sub (local.get $count) (i32.const 2)))))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $count))
  (func (export "with a bound that moves") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $count))
  (func (export "of two steps") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (loop $next
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $count))
  (func (export "that is left early") (param $i i32) (param $n i32) (param $last i32) (result i32) (local $count i32)
    (block $out
      (loop $next
        (br_if $out (i32.eq (local.get $i) (local.get $last)))
        ;; Too much to be paid for by who may have left.
        (local.set $count (i32.add (i32.rem_u (local.get $count) (i32.const 1000)) (i32.const 1)))
        (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
    (local.get $count))
  (func (export "that traps perhaps") (param $i i32) (param $n i32) (result i32) (local $count i32)
    (block $trap
      (loop $next
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $trap (i32.ge_u (local.get $i) (i32.const 100)))
        (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (return (local.get $count)))
    unreachable)
  (func (export "in a loop") (param $times i32) (param $n i32) (result i32) (local $i i32) (local $count i32)
    (loop $again
      (local.set $i (i32.const 0))
      (loop $next
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $next (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 2))) (local.get $n))))
      (br_if $again (local.tee $times (i32.add (local.get $times) (i32.const -1)))))
    (local.get $count)))

(assert_return (invoke "up" (i32.const 0) (i32.const 1)) (i32.const 1))
(assert_return (invoke "up" (i32.const 3) (i32.const 10)) (i32.const 7))
(assert_return (invoke "up" (i32.const -5) (i32.const 5)) (i32.const 10))
(assert_return (invoke "up" (i32.const 0x7ffffffe) (i32.const 0x80000002)) (i32.const 4))
(assert_return (invoke "down" (i32.const 7) (i32.const 6)) (i32.const 1))
(assert_return (invoke "down" (i32.const 5) (i32.const -5)) (i32.const 10))
(assert_return (invoke "down to zero" (i32.const 4)) (i32.const 1))
(assert_return (invoke "down to zero" (i32.const 400)) (i32.const 100))
(assert_return (invoke "up to a constant" (i32.const 0)) (i32.const 10))
(assert_return (invoke "up to a constant" (i32.const 216)) (i32.const 1))
(assert_return (invoke "up to a constant" (i32.const -24)) (i32.const 11))
(assert_return (invoke "by pages" (i32.const 1) (i32.const 0x30001)) (i32.const 3))
;; Who begins where it ends goes all the way round.
(assert_return (invoke "by pages" (i32.const 7) (i32.const 7)) (i32.const 65536))
(assert_return (invoke "by more than pages" (i32.const 0) (i32.const 0)) (i32.const 32768))
(assert_return (invoke "by more than pages" (i32.const 0x40000) (i32.const 0)) (i32.const 2))
(assert_return (invoke "around" (i32.const 0) (i32.const 0x15555558)) (i32.const 1))
(assert_return (invoke "around" (i32.const 0) (i32.const 0x20)) (i32.const 12))
(assert_return (invoke "around" (i32.const 9) (i32.const 32009)) (i32.const 12000))
(assert_return (invoke "of 64 bits" (i64.const -1) (i64.const 6)) (i32.const 7))
(assert_return (invoke "with arms" (i32.const 0) (i32.const 10)) (i32.const -5))
(assert_return (invoke "with a bound that moves" (i32.const 0) (i32.const 10)) (i32.const 5))
(assert_return (invoke "of two steps" (i32.const 0) (i32.const 10)) (i32.const 5))
(assert_return (invoke "that is left early" (i32.const 0) (i32.const 10) (i32.const 20)) (i32.const 10))
(assert_return (invoke "that is left early" (i32.const 0) (i32.const 1000000) (i32.const 3)) (i32.const 3))
(assert_return (invoke "that traps perhaps" (i32.const 0) (i32.const 100)) (i32.const 100))
(assert_trap (invoke "that traps perhaps" (i32.const 0) (i32.const 101)) "unreachable")
(assert_return (invoke "in a loop" (i32.const 5) (i32.const 10)) (i32.const 25))
