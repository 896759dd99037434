//! The tool from outside: command lines in, exit codes and texts out. Where a coordinator is needed, a
//! scripted one answers; the real one is in the system tests.
#![allow(missing_docs, reason = "a test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

const RUN: &str = "run_aaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A person's account: an empty home and the tool.
struct Person {
    home: tempfile::TempDir,
}

/// How a command went.
struct Said {
    exit: i32,
    out: String,
    err: String,
}

impl Person {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manyhands"));
        command.args(line.split_whitespace()).current_dir(&self.home).stdin(Stdio::null());
        for variable in ["MANYHANDS_SERVER", "MANYHANDS_TOKEN", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.home.path());
        command
    }

    fn says(&self, line: &str) -> Said {
        told(self.command(line).output().expect("starts"))
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.home.path().join(name), contents).expect("written");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }
}

fn told(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { exit: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) }
}

/// Answers one request after the other, each on a connection of its own, and tells what was asked.
struct Scripted {
    url: String,
    asked: JoinHandle<Vec<String>>,
}

impl Scripted {
    fn new<const N: usize>(answers: [(&'static str, &'static str, String); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serve = move || {
            let answer = |(status, kind, body): (&str, &str, String)| {
                let (mut stream, _) = listener.accept().expect("a connection");
                let request = read_request(&mut stream);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all((head + &body).as_bytes()).expect("written");
                request
            };
            answers.map(answer).into()
        };
        Self { url, asked: std::thread::spawn(serve) }
    }

    fn asked(self) -> Vec<String> {
        self.asked.join().expect("no panic")
    }
}

/// The head and, behind an empty line, the body with its framing taken off.
fn read_request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("a line"), 0, "the head ends");
    }
    let head = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).expect("a line");
            let size = usize::from_str_radix(size.trim(), 16).expect("a size");
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).expect("a chunk");
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some((_, rest)) = head.split_once("content-length: ") {
        body.resize(rest.split("\r\n").next().expect("a number").parse().expect("a number"), 0);
        reader.read_exact(&mut body).expect("a body");
    }
    head + &String::from_utf8_lossy(&body)
}

fn run_view(state: &str, done: u32, failed: u32) -> String {
    format!(
        r#"{{"id":"{RUN}","job":"hello","version":"0.1.0","owner":"ada","state":"{state}","priority":0,"replicas":2,
        "replicas_max":4,"reduce":false,"inputs":3,"units":{{"total":3,"waiting":0,"running":0,"done":{done},
        "failed":{failed},"cancelled":0}},"dissents":1,"submitted_at":1000,"finished_at":3500}}"#
    )
    .replace('\n', "")
}

fn events(states: &[(&str, u32, u32)], ends: bool) -> String {
    let progress = states
        .iter()
        .map(|(state, done, failed)| format!("event: progress\ndata: {}\n\n", run_view(state, *done, *failed)));
    progress.chain(ends.then(|| "event: end\ndata:\n\n".to_owned())).collect()
}

#[test]
fn a_wrong_command_line_is_the_users_fault() {
    let ada = Person::new();
    for line in [
        "",
        "frobnicate",
        "run a.wasm",
        "run a.wasm --input a --inputs b",
        "why lst",
        "new Bad_Name",
        "watch last --timeout 0",
    ] {
        let said = ada.says(line);
        assert_eq!((said.exit, said.out.as_str()), (2, ""), "{line}: {}", said.err);
    }
    assert_eq!(ada.says("--help").exit, 0);
    assert_eq!(ada.says("check no-such.wasm").exit, 2);
}

#[test]
fn nobody_at_the_other_end_is_said_with_what_to_do() {
    let ada = Person::new();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let mut jobs = ada.command(&format!("jobs --server http://127.0.0.1:{port}"));
    // A bare machine has no certificates, and needs none for this.
    jobs.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let said = told(jobs.output().expect("starts"));
    assert_eq!((said.exit, said.out.as_str()), (5, ""), "{}", said.err);
    assert!(said.err.contains("manyhands-coordinator") && said.err.contains("--server"), "{}", said.err);
}

/// A job that answers every input with the output `true`.
fn module(body: &str) -> Vec<u8> {
    let manifest = r#"{\"name\":\"yes\",\"version\":\"1.0.0\",\"abi\":1,\"description\":\"Says yes.\",\"limits\":{\"fuel\":1000000}}"#;
    let text = format!(
        r#"(module
            (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "true")
            (func (export "manyhands_run") {body})
            (@custom "manyhands.manifest" "{manifest}"))"#
    );
    wat::parse_str(text).expect("parses")
}

const SAYS_YES: &str = "(call $output_write (i32.const 0) (i32.const 4))";

#[test]
fn a_good_module_is_told_about() {
    let ada = Person::new();
    ada.write("yes.wasm", module(SAYS_YES));
    let said = ada.says("check yes.wasm");
    assert_eq!((said.exit, said.err.as_str()), (0, ""));
    for part in ["yes 1.0.0", "Says yes.", "output_write", "64.0 MiB of memory"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let said = ada.says("check yes.wasm --json");
    assert!(said.out.starts_with(r#"{"manifest":{"name":"yes","version":"1.0.0""#), "{}", said.out);
}

#[test]
fn broken_modules_are_refused_with_a_reason() {
    let ada = Person::new();
    let whole = module(SAYS_YES);
    let replaced = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|window| window == from.as_bytes()).expect("is there");
        [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat()
    };
    ada.write("text.wasm", "hello");
    ada.write("empty.wasm", "");
    ada.write("truncated.wasm", &whole[..whole.len() / 2]);
    ada.write("foreign.wasm", replaced("manyhands_v1", "wasi_preview"));
    ada.write("no-entry.wasm", replaced("manyhands_run", "manyhands_ran"));
    ada.write("no-manifest.wasm", replaced("manyhands.manifest", "manyhands.menifest"));
    for file in ["text", "empty", "truncated", "foreign", "no-entry", "no-manifest"] {
        let said = ada.says(&format!("check {file}.wasm"));
        assert_eq!((said.exit, said.out.as_str()), (1, ""), "{file}: {}", said.err);
        assert!(said.err.starts_with("error: ") && said.err.lines().count() >= 2, "{file}: {}", said.err);
    }
    assert!(ada.says("check foreign.wasm").err.contains("wasi_preview"));
    assert!(ada.says("check no-entry.wasm").err.contains("manyhands_run"));
}

#[test]
fn a_job_runs_here_in_replicas_that_agree() {
    let ada = Person::new();
    ada.write("yes.wasm", module(SAYS_YES));
    ada.write("inputs.jsonl", "1\n2\n3\n");
    let said = ada.says("run yes.wasm --inputs inputs.jsonl --replicas 3");
    assert_eq!((said.exit, said.out.as_str()), (0, "true\ntrue\ntrue\n"), "{}", said.err);
    assert!(said.err.contains("3 units × 3 replicas"), "{}", said.err);

    let said = ada.says("run yes.wasm --inputs inputs.jsonl --json --quiet");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines.len() == 3 && lines[2].starts_with(r#"{"unit":2,"status":"ok","output":true,"#), "{}", said.out);
    assert_eq!(said.err, "");
    let said = ada.says("run yes.wasm --input yes.wasm --frames");
    assert_eq!((said.exit, said.out.as_str()), (0, "\u{4}\0\0\0true"), "{}", said.err);
    assert_eq!(ada.says("run yes.wasm --input yes.wasm --reduce").exit, 2, "it has no reduce step");
    ada.write("none.jsonl", "\n");
    assert_eq!(ada.says("run yes.wasm --inputs none.jsonl").exit, 2, "a run has an input");
}

#[test]
fn a_job_that_fails_here_says_how() {
    let ada = Person::new();
    ada.write("input", "");
    for (body, exit, why) in [
        ("unreachable", 1, "trap"),
        ("(loop (br 0))", 1, "out of fuel"),
        ("(call $output_write (i32.const -1) (i32.const 4))", 1, "trap"),
    ] {
        ada.write("bad.wasm", module(body));
        let said = ada.says("run bad.wasm --input input");
        assert_eq!((said.exit, said.out.as_str()), (exit, ""), "{body}: {}", said.err);
        assert!(said.err.contains(why), "{body}: {}", said.err);
    }
}

#[test]
fn a_new_job_is_there_and_is_never_overwritten() {
    let ada = Person::new();
    let said = ada.says("new hello --json");
    assert_eq!((said.exit, said.out.trim()), (0, r#"{"path":"hello"}"#), "{}", said.err);
    assert!(ada.path("hello/src/lib.rs").is_file() && ada.path("hello/.gitignore").is_file());
    assert_eq!(ada.says("new hello").exit, 2);
    assert_eq!(ada.says("new other --template map-reduce --sdk-path nowhere").exit, 2);
    assert!(!ada.path("other").exists(), "nothing half-made stays behind");
}

#[test]
fn a_typing_error_in_the_manifest_is_named_before_anything_is_built() {
    let ada = Person::new();
    assert_eq!(ada.says("new hello").exit, 0);
    let cargo = std::fs::read_to_string(ada.path("hello/Cargo.toml")).expect("read").replace("fuel =", "fule =");
    ada.write("hello/Cargo.toml", cargo);
    // Cargo and rustup live in the real home.
    let mut build = ada.command("build --manifest-path hello/Cargo.toml");
    build.env("HOME", std::env::var_os("HOME").expect("a home"));
    let said = told(build.output().expect("starts"));
    assert_eq!((said.exit, said.out.as_str()), (2, ""), "{}", said.err);
    assert!(said.err.contains("`fule`") && said.err.contains("did you mean `fuel`?"), "{}", said.err);
}

#[test]
fn completions_are_written_for_every_shell() {
    let ada = Person::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = ada.says(&format!("completions {shell}"));
        assert!(said.exit == 0 && said.out.contains("manyhands"), "{shell}: {}", said.err);
    }
}

#[test]
fn a_login_is_remembered_for_its_server_and_for_no_other() {
    let ada = Person::new();
    let jobs = || ("200 OK", "application/json", r#"{"jobs":[]}"#.to_owned());
    let (home, elsewhere) = (Scripted::new([jobs(), jobs()]), Scripted::new([jobs()]));
    ada.write("token", "mh_secret\n");
    let said = ada.says(&format!("login {} --token-file token", home.url));
    assert_eq!(said.exit, 0, "{}", said.err);
    assert!(!said.err.contains("mh_secret"));
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&path.metadata().expect("exists")) & 0o777;
    assert_eq!(mode(&ada.path(".config/manyhands/profile.toml")), 0o600);

    assert_eq!(ada.says("jobs --json").out.trim(), r#"{"jobs":[]}"#);
    assert_eq!(ada.says(&format!("jobs --server {}", elsewhere.url)).exit, 0);
    for request in home.asked() {
        assert!(request.contains("authorization: bearer mh_secret"), "{request}");
    }
    assert!(!elsewhere.asked()[0].contains("authorization"), "the token stays at home");
}

#[test]
fn a_refused_login_is_not_remembered() {
    let ada = Person::new();
    let problem =
        r#"{"type":"/problems/bad-token","title":"Not allowed","status":401,"detail":"This token is unknown."}"#;
    let server = Scripted::new([("401 Unauthorized", "application/problem+json", problem.to_owned())]);
    ada.write("token", "mh_wrong");
    let said = ada.says(&format!("login {} --token-file token", server.url));
    assert_eq!(said.exit, 6, "{}", said.err);
    assert!(said.err.starts_with("error: This token is unknown.\n  Not allowed (401)"), "{}", said.err);
    assert!(!ada.path(".config/manyhands/profile.toml").exists());
}

#[test]
fn lines_travel_as_they_are_and_the_run_id_comes_back() {
    let ada = Person::new();
    let server = Scripted::new([("201 Created", "application/json", run_view("active", 0, 0))]);
    ada.write("inputs.jsonl", "{\"name\":\"ada\"}\n{\"name\":\"grace\"}\n");
    let said = ada.says(&format!("submit hello@0.1.0 --inputs inputs.jsonl --replicas 3 --server {}", server.url));
    assert_eq!((said.exit, said.out.trim()), (0, RUN), "{}", said.err);
    let request = server.asked().remove(0);
    assert!(request.starts_with("post /v1/runs?job=hello&version=0.1.0&replicas=3 "), "{request}");
    assert!(
        request.contains("idempotency-key: ") && request.contains("content-type: application/x-ndjson"),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{\"name\":\"ada\"}\n{\"name\":\"grace\"}\n"), "{request}");
}

#[test]
fn a_file_that_is_missing_breaks_the_upload_off_and_is_named() {
    let ada = Person::new();
    let server = Scripted::new([("201 Created", "application/json", run_view("active", 0, 0))]);
    ada.write("a", "one");
    let said = ada.says(&format!("submit hello --input a missing --server {}", server.url));
    assert_eq!((said.exit, said.out.as_str()), (2, ""), "{}", said.err);
    assert!(said.err.contains("`missing`"), "{}", said.err);
    assert!(server.asked.join().is_err(), "the coordinator never saw the end of the upload");
}

#[test]
fn files_travel_as_frames() {
    let ada = Person::new();
    let server = Scripted::new([("201 Created", "application/json", run_view("active", 0, 0))]);
    ada.write("a", "one");
    ada.write("b", "");
    let said = ada.says(&format!("submit hello --input a b --idempotency-key k --server {}", server.url));
    assert_eq!(said.exit, 0, "{}", said.err);
    let request = server.asked().remove(0);
    assert!(request.contains("idempotency-key: k\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n\u{3}\0\0\0one\0\0\0\0"), "{request:?}");
}

#[test]
fn a_watcher_comes_back_after_a_lost_connection() {
    let ada = Person::new();
    let sse = "text/event-stream";
    let server = Scripted::new([
        ("200 OK", sse, events(&[("active", 1, 0)], false)),
        ("200 OK", sse, events(&[("active", 2, 0), ("finished", 3, 0)], true)),
        ("200 OK", "application/json", run_view("finished", 3, 0)),
    ]);
    let said = ada.says(&format!("watch {RUN} --server {}", server.url));
    assert_eq!((said.exit, said.out.as_str()), (0, ""), "{}", said.err);
    assert!(said.err.contains("3 of 3 units done, 1 wrong answers caught, 2.5 s"), "{}", said.err);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_run_with_failed_units_is_no_success() {
    let reasons = |word: &str| {
        format!(
            r#"{{"run":{},"reasons":[{{"reason":"{word}","sentence":"s","units":1}}],"units":[]}}"#,
            run_view("finished", 2, 1)
        )
    };
    for (word, exit) in [("failed", 1), ("undecided", 3)] {
        let ada = Person::new();
        let server = Scripted::new([
            ("200 OK", "text/event-stream", events(&[("finished", 2, 1)], true)),
            ("200 OK", "application/json", run_view("finished", 2, 1)),
            ("200 OK", "application/json", reasons(word)),
        ]);
        let said = ada.says(&format!("watch {RUN} --json --server {}", server.url));
        assert_eq!(said.exit, exit, "{word}: {}", said.err);
        assert!(said.out.lines().all(|line| line.starts_with("{\"id\"")), "{}", said.out);
    }
}

#[test]
fn results_pass_through_and_a_failure_among_them_is_told() {
    let ada = Person::new();
    let lines = "{\"unit\":0,\"status\":\"ok\",\"output\":1,\"fuel\":5,\"replicas\":2}\n{\"unit\":1,\"status\":\"trap\",\"fuel\":5,\"replicas\":2}\n";
    let server = Scripted::new([("200 OK", "application/x-ndjson", lines.to_owned())]);
    let said = ada.says(&format!("results {RUN} --order accepted --out r.jsonl --server {}", server.url));
    assert_eq!((said.exit, said.out.as_str()), (1, ""), "{}", said.err);
    assert!(said.err.contains("1 of 2 results"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(ada.path("r.jsonl")).expect("written"), lines);
    assert!(server.asked()[0].starts_with(&format!("get /v1/runs/{RUN}/results?order=accepted&format=ndjson ")));
}

#[test]
fn a_verified_failure_of_the_job_is_the_jobs_fault() {
    let ada = Person::new();
    let problem = r#"{"type":"/problems/job-failed","title":"The job failed","status":422,"detail":"the job returned an error: no name"}"#;
    let server = Scripted::new([("422 Unprocessable Content", "application/problem+json", problem.to_owned())]);
    ada.write("input", "{}");
    let said = ada.says(&format!("invoke hello --input input --server {}", server.url));
    assert_eq!((said.exit, said.out.as_str()), (1, ""), "{}", said.err);
    assert!(said.err.contains("no name"), "{}", said.err);
}

#[test]
fn a_stranger_on_the_port_is_not_taken_for_a_coordinator() {
    let ada = Person::new();
    let server = Scripted::new([
        ("200 OK", "text/html", "<html>".to_owned()),
        ("404 Not Found", "text/html", "<html>".to_owned()),
    ]);
    let said = ada.says(&format!("jobs --server {}", server.url));
    assert!(said.exit == 70 && said.err.contains("is it a coordinator"), "{}", said.err);
    let said = ada.says(&format!("jobs --server {}", server.url));
    assert!(said.exit == 2 && said.err.contains("is it a coordinator"), "{}", said.err);
}

/// A job that may look customers up, and whatever else its manifest is to say; its input stands from byte 64 on, with its length in `$len`.
fn job(rest_of_manifest: &str, body: &str) -> Vec<u8> {
    let manifest =
        format!(r#"{{"name":"teller","version":"1.0.0","abi":1{VERBS}{rest_of_manifest}}}"#).replace('"', "\\\"");
    let text = format!(
        r#"(module
            (import "manyhands_v1" "input_len" (func $input_len (result i32)))
            (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
            (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
            (import "manyhands_v1" "call_all" (func $call (param i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func (export "manyhands_run") (local $len i32) (local $at i32)
              (local.set $len (call $input_len))
              (call $input_read (i32.const 64) (i32.const 0) (local.get $len))
              {body})
            (@custom "manyhands.manifest" "{manifest}"))"#
    );
    wat::parse_str(text).expect("parses")
}

const VERBS: &str = r#","verbs":{"lookup":{"method":"GET","origin":"https://crm.example.com","path":"/v1/{id}","slots":{"id":{"type":"id","bytes_max":64}},"effect":"safe","budget":{"per_run":10}}}"#;
const SENSITIVE: &str = r#","sensitive":[{"at":"$[*]","class":"email"}]"#;
/// Answers with its input.
const PARROT: &str = "(call $output_write (i32.const 64) (local.get $len))";
/// Of an input of two tokens, says whether the first comes first in the alphabet: `["dtk1…","dtk1…"]`.
const COMPARES: &str = r#"
    (block $differs (loop $same
      (br_if $differs (i32.ne (i32.load8_u offset=71 (local.get $at)) (i32.load8_u offset=107 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $same (i32.lt_u (local.get $at) (i32.const 26)))))
    (i32.store8 (i32.const 0) (i32.add (i32.const 48)
      (i32.lt_u (i32.load8_u offset=71 (local.get $at)) (i32.load8_u offset=107 (local.get $at)))))
    (call $output_write (i32.const 0) (i32.const 1))"#;
/// Asks for whatever its input says.
const ASKS: &str = "(drop (call $call (i32.const 64) (local.get $len)))";
/// The same, and then answers with what it asked for.
const ASKS_FOR_LETTERS: &str = "(drop (call $call (i32.const 71) (i32.const 26)))";

#[test]
fn a_sample_with_undeclared_data_is_refused_with_place_class_and_cure() {
    let ada = Person::new();
    ada.write("open.wasm", job("", PARROT));
    ada.write("closed.wasm", job(SENSITIVE, PARROT));
    ada.write("inputs.jsonl", "[\"lamps\"]\n\n[\"lamps\", \"ann.lee@example.com\"]\n");
    // Nobody listens there: what is refused is not sent.
    let nowhere = "--server http://127.0.0.1:9";
    for line in ["check open.wasm".to_owned(), format!("publish open.wasm --key key {nowhere}")] {
        let said = ada.says(&line);
        assert_eq!((said.exit, said.out.as_str()), (1, ""), "{line}: {}", said.err);
        for part in
            ["inputs.jsonl:3:11", "/1", "email", "{ at = \"$[*]\", class = \"email\" },", "--allow-undeclared '$[*]'"]
        {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
        assert!(!said.err.contains("ann"), "{}", said.err);
    }
    assert!(!ada.path("key").exists(), "nothing was done");
    let said = ada.says("check open.wasm --allow-undeclared $[*]");
    assert_eq!(said.exit, 0, "{}", said.err);
    let said = ada.says("check closed.wasm --json");
    assert_eq!(said.exit, 0, "{}", said.err);
    assert!(said.out.contains(r#""samples":{"clean":2,"unread":0,"executed":2}"#), "{}", said.out);
    // Others than those that lie there.
    ada.write("a.json", "[\n  \"+49 30 901820\"\n]");
    let said = ada.says("check open.wasm --sample a.json inputs.jsonl --allow-undeclared /1");
    assert!(said.exit == 1 && said.err.contains("a.json:2:3") && !said.err.contains("inputs.jsonl:"), "{}", said.err);
    ada.write("b.json", "[");
    let said = ada.says("check open.wasm --sample b.json");
    assert!(
        said.exit == 2 && said.err.contains("b.json: a sample") && said.err.contains("line 1, column 2"),
        "{}",
        said.err
    );
}

#[test]
fn a_job_that_depends_on_the_bytes_of_tokens_is_refused() {
    let ada = Person::new();
    ada.write("inputs.jsonl", "[\"ann@example.com\",\"bob@example.com\"]\n");
    for (body, manifest, how) in [
        (COMPARES, SENSITIVE, "the output differs: one worker has `"),
        (ASKS_FOR_LETTERS, SENSITIVE, "what is asked for differs"),
    ] {
        ada.write("job.wasm", job(manifest, body));
        let said = ada.says("publish job.wasm --key key --server http://127.0.0.1:9");
        assert_eq!((said.exit, said.out.as_str()), (1, ""), "{}", said.err);
        assert!(said.err.contains("`teller` depends on the bytes of tokens") && said.err.contains(how), "{}", said.err);
        assert!(said.err.contains("inputs.jsonl") && !said.err.contains("ann"), "{}", said.err);
    }
    for body in [PARROT, ASKS, "unreachable"] {
        ada.write("job.wasm", job(SENSITIVE, body));
        let said = ada.says("check job.wasm");
        assert_eq!(said.exit, 0, "{}", said.err);
        assert!(said.err.contains("1 executed with two workers' tokens"), "{}", said.err);
        assert_eq!(
            said.err.contains("warning: inputs.jsonl: with tokens in it"),
            body == "unreachable",
            "{}",
            said.err
        );
    }
    // Without samples nobody can look, which is said.
    std::fs::remove_file(ada.path("inputs.jsonl")).expect("removed");
    let said = ada.says("check job.wasm");
    assert!(said.exit == 0 && said.err.contains("warning: without samples"), "{}", said.err);
}

#[test]
fn a_job_sees_tokens_here_as_well_and_its_author_the_values() {
    let ada = Person::new();
    let values = "[\"ann@example.com\",\"bob@example.com\"]\n";
    ada.write("inputs.jsonl", values);
    ada.write("parrot.wasm", job("", PARROT));
    ada.write("compares.wasm", job("", COMPARES));
    ada.write("declared.wasm", job(SENSITIVE, COMPARES));
    let saw = "the job saw tokens in the place of sensitive values";
    for (line, exit, tokens) in [
        ("parrot.wasm", 0, false),
        ("parrot.wasm --sensitive $[*]=email:domain", 0, true),
        ("parrot.wasm --sensitive $[0]=text --replicas 5", 0, true),
        ("parrot.wasm --sensitive /x=text", 0, false),
        // What workers would not agree on, replicas do not here.
        ("compares.wasm", 0, false),
        ("compares.wasm --sensitive $[*]=email", 3, true),
        ("declared.wasm", 3, true),
        ("declared.wasm --plain", 0, false),
    ] {
        let said = ada.says(&format!("run {line} --inputs inputs.jsonl"));
        assert_eq!((said.exit, said.err.contains(saw)), (exit, tokens), "{line}: {}", said.err);
        assert!(!line.starts_with("parrot") || said.out == values, "{line}: {}", said.out);
        assert!(!said.err.contains("ann@"), "{line}: {}", said.err);
    }
    let said = ada.says("run declared.wasm --sensitive $[*]=text --inputs inputs.jsonl");
    assert!(said.exit == 2 && said.err.contains("`$[*]` is `email` in the job's manifest"), "{}", said.err);
    ada.write("inputs.jsonl", "[1]\n[\n");
    let said = ada.says("run parrot.wasm --sensitive $[*]=text --inputs inputs.jsonl");
    assert!(said.exit == 2 && said.err.contains("input 2: not JSON: line 1, column 2"), "{}", said.err);
}

/// Keeps the first token of `{"record":null,"input":"dtk1…"}` in the record, at this key.
fn keeps_at(key: &str) -> String {
    let (before, after) = (format!("{{\\22record\\22:{{\\22{key}\\22:"), "},\\22output\\22:1}");
    let length = |text: &str| text.replace("\\22", "\"").len();
    let (begins, ends) = (length(&before), length(after));
    format!(
        r#"(memory.init 0 (i32.const 0) (i32.const 0) (i32.const {begins}))
           (call $output_write (i32.const 0) (i32.const {begins}))
           (call $output_write (i32.const 87) (i32.const 35))
           (memory.init 1 (i32.const 0) (i32.const 0) (i32.const {ends}))
           (call $output_write (i32.const 0) (i32.const {ends})))
         (data "{before}") (data "{after}")
         (func"#
    )
}

#[test]
fn a_record_with_a_value_where_none_is_declared_is_refused_as_a_coordinator_does() {
    let ada = Person::new();
    let fields = r#"[{"at":"/input","class":"email"},{"at":"/record/mail","class":"email"}]"#;
    let manifest = |bytes: u32| format!(r#","sensitive":{fields},"record_bytes":{bytes}"#);
    ada.write("hides.wasm", job(&manifest(100), &keeps_at("mail")));
    ada.write("shows.wasm", job(&manifest(100), &keeps_at("note")));
    ada.write("long.wasm", job(&manifest(20), &keeps_at("mail")));
    ada.write("parrot.wasm", job(&manifest(100), PARROT));
    ada.write("inputs.jsonl", "{\"record\":null,\"input\":\"ann.lee@example.com\"}\n");
    let said = ada.says("run hides.wasm --inputs inputs.jsonl");
    assert_eq!(said.out, "{\"record\":{\"mail\":\"ann.lee@example.com\"},\"output\":1}\n", "{}", said.err);
    assert_eq!(ada.says("check hides.wasm").exit, 0);
    for (module, why) in [
        ("shows.wasm", "a sensitive value at `/record/note`"),
        ("long.wasm", "a record of 30 bytes; its manifest says 20"),
        ("parrot.wasm", "the job's output is no {\"record\": …, \"output\": …}"),
    ] {
        let said = ada.says(&format!("run {module} --inputs inputs.jsonl"));
        assert_eq!((said.exit, said.out.as_str()), (1, ""), "{module}: {}", said.err);
        assert!(said.err.contains(why) && !said.err.contains("ann.lee"), "{module}: {}", said.err);
        let said = ada.says(&format!("check {module}"));
        assert!(
            said.exit == 1 && said.err.contains("inputs.jsonl: ") && said.err.contains(why),
            "{module}: {}",
            said.err
        );
        assert!(!said.err.contains("ann.lee"), "{module}: {}", said.err);
    }
    let said = ada.says("run shows.wasm --json --inputs inputs.jsonl");
    let line: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert!(line["status"] == "unusable" && line["output"].is_null() && !said.out.contains("dtk1"), "{}", said.out);
}

#[test]
fn a_plan_shows_the_fields_of_a_run_and_is_approved_without_them() {
    let ada = Person::new();
    ada.write("job.wasm", job(SENSITIVE, PARROT));
    let plain = ada.says("plan job.wasm");
    let said = ada.says("plan job.wasm --sensitive /name=name --sensitive $[*]=email:domain");
    assert_eq!(said.exit, 2, "{}", said.err);
    let said = ada.says("plan job.wasm --sensitive /name=name --sensitive /phone=phone:country");
    assert_eq!(said.exit, 0, "{}", said.err);
    for part in
        ["$[*], email", "/name, name: workers see a token", "/phone, phone: workers see a token and its country"]
    {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(said.err.contains("the job's plan without them") && !plain.err.contains("without them"), "{}", said.err);
    let digest = |said: &str| said.lines().find(|line| line.starts_with("plan")).map(str::to_owned);
    assert!(digest(&plain.out).is_some() && digest(&plain.out) == digest(&said.out), "{}", said.out);
    let said = ada.says("plan teller --sensitive /name=name --server http://127.0.0.1:9");
    assert!(said.exit == 2 && said.err.contains("name the module's file"), "{}", said.err);
}

const NO_CONTENT: (&str, &str, String) = ("204 No Content", "text/plain", String::new());

fn plan_view(digest: &str) -> (&'static str, &'static str, String) {
    let view =
        format!(r#"{{"digest":"{digest}","approved":false,"page":"job  teller 1.0.0\nverb  lo\u001b[2Jokup\n"}}"#);
    ("200 OK", "application/json", view)
}

#[test]
fn a_plan_is_shown_and_exactly_what_was_shown_is_approved() {
    let ada = Person::new();
    ada.write("job.wasm", job("", PARROT));
    let said = ada.says("plan job.wasm");
    assert!(said.exit == 0 && said.out.contains("GET https://crm.example.com/v1/{id}"), "{} {}", said.out, said.err);
    let json: serde_json::Value = serde_json::from_str(&ada.says("plan ./job.wasm --json").out).expect("JSON");
    assert!(said.out.contains(json["digest"].as_str().expect("a digest")));

    let digest = "ab".repeat(32);
    let server = Scripted::new([plan_view(&digest), plan_view(&digest), plan_view(&digest), NO_CONTENT]);
    let said = ada.says(&format!("plan teller@1.0.0 --server {}", server.url));
    assert!(said.exit == 0 && said.out.contains("verb  lo\u{fffd}[2Jokup"), "{}", said.out);
    assert!(said.err.contains("`manyhands plan approve teller@1.0.0`"), "{}", said.err);
    // Nobody is there to be asked.
    let said = ada.says(&format!("plan approve teller --server {}", server.url));
    assert!(
        said.exit == 2 && said.out.contains("job  teller") && said.err.contains("nothing was approved"),
        "{}",
        said.err
    );
    let said = ada.says(&format!("plan approve teller --yes --digest {digest} --server {}", server.url));
    assert_eq!(said.exit, 0, "{}", said.err);
    let asked = server.asked();
    assert!(asked[0].starts_with("get /v1/jobs/teller/plan?version=1.0.0 "), "{}", asked[0]);
    assert!(asked[3].starts_with(&format!("put /v1/plans/{digest} ")), "{}", asked[3]);

    // The job has another plan by now.
    let server = Scripted::new([plan_view(&"cd".repeat(32)), plan_view(&digest), NO_CONTENT]);
    let said = ada.says(&format!("plan approve teller --yes --digest {digest} --server {}", server.url));
    assert!(said.exit == 2 && said.err.contains("nothing was approved"), "{}", said.err);
    assert_eq!(ada.says(&format!("plan revoke teller --server {}", server.url)).exit, 0);
    assert!(server.asked()[2].starts_with(&format!("delete /v1/plans/{digest} ")));
}

#[test]
fn a_secret_travels_in_a_body_and_is_never_shown() {
    let ada = Person::new();
    let list = r#"{"secrets":[{"name":"crm_key","origin":"https://crm.example.com"}]}"#;
    let list = || ("200 OK", "application/json", list.to_owned());
    let server = Scripted::new([NO_CONTENT, list(), list(), NO_CONTENT, list()]);
    ada.write("key", "hunter2\n");
    let set = format!("secret set crm_key --origin https://crm.example.com --server {}", server.url);
    let said = ada.says(&format!("{set} --file key"));
    assert!(said.exit == 0 && !said.err.contains("hunter2"), "{}", said.err);
    // Standard input is empty here.
    let said = ada.says(&set);
    assert!(said.exit == 2 && said.err.contains("stdin holds no secret"), "{}", said.err);
    let said = ada.says(&format!("{set} --token-file -"));
    assert_eq!(said.exit, 2, "{}", said.err);
    let said = ada.says(&format!("secret list --server {}", server.url));
    assert_eq!(said.out, "SECRET   SENT TO\ncrm_key  https://crm.example.com\n", "{}", said.err);
    assert_eq!(ada.says(&format!("secret remove crm_key --server {}", server.url)).exit, 0);
    let said = ada.says(&format!("secret remove crm_kez --server {}", server.url));
    assert!(said.exit == 2 && said.err.contains("no secret `crm_kez`"), "{}", said.err);
    let asked = server.asked();
    assert!(asked[0].starts_with("put /v1/secrets/crm_key "), "{}", asked[0]);
    assert!(asked[0].ends_with(r#"{"origin":"https://crm.example.com","secret":"hunter2"}"#), "{}", asked[0]);
    assert!(asked[3].starts_with("delete /v1/secrets/crm_key "));
}

#[test]
fn unknown_calls_are_listed_with_what_to_do_and_settled() {
    let ada = Person::new();
    let id = format!("intent_{}", "a".repeat(52));
    let call = format!(
        r#"{{"calls":[{{"id":"{id}","run":"{RUN}","unit":3,"step":0,"verb":"send","canonical":"{{\"slots\":{{\"to\":\"dtk1\"}}}}"}}]}}"#
    );
    let answer = |body: &str| ("200 OK", "application/json", body.to_owned());
    let server = Scripted::new([answer(&call), answer(r#"{"calls":[]}"#), NO_CONTENT]);
    let said = ada.says(&format!("calls --server {}", server.url));
    assert_eq!(said.exit, 0, "{}", said.err);
    assert_eq!(said.out, format!("{id}\n  {RUN}, unit 3, request 1: send\n  {{\"slots\":{{\"to\":\"dtk1\"}}}}\n"));
    assert!(said.err.contains("--not-made") && said.err.contains("--let-go"), "{}", said.err);
    let said = ada.says(&format!("calls --server {}", server.url));
    assert_eq!((said.exit, said.out.as_str()), (0, ""), "{}", said.err);
    assert_eq!(ada.says(&format!("calls settle {id} --let-go --server {}", server.url)).exit, 0);
    let asked = server.asked().remove(2);
    assert!(asked.starts_with(&format!("put /v1/calls/{id} ")) && asked.ends_with(r#"{"found":"let_go"}"#), "{asked}");
}
