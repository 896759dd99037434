//! What `manyhands` looks at before it publishes, and what an operator decides with it, against a real coordinator.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use manyhands_model::{Codec, Manifest};
use manyhands_tests::{Coordinator, Site, jobs, run, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// An operator at a terminal, in a folder.
struct Operator {
    folder: TempDir,
    server: String,
    token: PathBuf,
    key: String,
}

impl Operator {
    fn of(coordinator: &Coordinator) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = format!("http://{}", coordinator.address());
        let key = folder.path().join("publisher.key").display().to_string();
        Self { folder, server, token: coordinator.data_dir().join("operator.token"), key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), contents).expect("written");
        self.path(name).display().to_string()
    }

    fn says(&self, arguments: &[&str]) -> Output {
        let own: [&Path; 4] = ["--server".as_ref(), self.server.as_ref(), "--token-file".as_ref(), &self.token];
        run("manyhands", arguments.iter().map(Path::new).chain(own))
    }

    /// What a command writes to stdout, which succeeds.
    fn reads(&self, arguments: &[&str]) -> String {
        let said = self.says(arguments);
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text")
    }

    /// What a command complains of, which fails with this exit code.
    fn complains(&self, exit: i32, arguments: &[&str]) -> String {
        let said = self.says(arguments);
        let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(exit), "{arguments:?}: {complaint}");
        complaint
    }

    fn publishing<'a>(&'a self, module: &'a str, samples: &'a str) -> [&'a str; 6] {
        ["publish", module, "--key", &self.key, "--sample", samples]
    }
}

fn sensitive(name: &str, fields: Value) -> Manifest {
    let sensitive = serde_json::from_value(fields).expect("fields");
    Manifest { sensitive, ..jobs::manifest(name, Codec::Json) }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_declared_and_agrees_with_itself_is_published() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::of(&coordinator);
    let samples = operator.write("inputs.jsonl", "{\"to\":\"ann.lee@example.com\"}\n{\"to\":\"bob@example.com\"}\n");

    let open = operator.write("open.wasm", jobs::parrot_of(sensitive("teller", json!([]))).module);
    let refused = operator.complains(1, &operator.publishing(&open, &samples));
    assert!(
        refused.contains("inputs.jsonl:1:7") && refused.contains("{ at = \"/to\", class = \"email\" }"),
        "{refused}"
    );
    assert!(!refused.contains("ann") && !refused.contains("bob"), "{refused}");

    // Its output is the first letter of the token that follows the class.
    let body = r#"
        (import "manyhands_v1" "input_read" (func $input_read (param i32 i32 i32)))
        (import "manyhands_v1" "output_write" (func $output_write (param i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\"??????????????????????????\"")
        (func (export "manyhands_run")
          (call $input_read (i32.const 1) (i32.const 12) (i32.const 26))
          (call $output_write (i32.const 0) (i32.const 28)))"#;
    let fields = json!([{ "at": "/to", "class": "email" }]);
    let looks = operator.write("looks.wasm", jobs::assemble(&sensitive("teller", fields.clone()), body));
    let refused = operator.complains(1, &operator.publishing(&looks, &samples));
    assert!(refused.contains("depends on the bytes of tokens") && refused.contains("the output differs"), "{refused}");
    assert_eq!(operator.reads(&["jobs", "--json"]).trim(), r#"{"jobs":[]}"#, "nothing was published");

    let good = operator.write("good.wasm", jobs::parrot_of(sensitive("teller", fields)).module);
    assert_eq!(operator.reads(&operator.publishing(&good, &samples)).trim(), "teller@1.0.0");
    // And what it promised holds: replicas agree.
    let _runners = coordinator.runners(2).await;
    let run = operator.reads(&["submit", "teller", "--inputs", &samples, "--wait"]);
    let results = operator.reads(&["results", run.trim()]);
    assert!(results.contains(r#""output":{"to":"ann.lee@example.com"}"#), "{results}");
}

/// An API whose answers wait until they may be given.
struct Api {
    letters: AtomicUsize,
    answers: Semaphore,
}

async fn lookup(headers: HeaderMap) -> axum::Json<Value> {
    let known = headers.get("authorization").is_some_and(|key| key == "Bearer crm-secret");
    axum::Json(json!({ "tier": if known { "gold" } else { "basic" } }))
}

async fn send(State(api): State<Arc<Api>>) -> axum::Json<Value> {
    api.letters.fetch_add(1, Ordering::SeqCst);
    api.answers.acquire().await.expect("never closed").forget();
    axum::Json(json!({ "id": "m-1" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_decides_by_command_what_is_called() {
    let api = Arc::new(Api { letters: AtomicUsize::new(0), answers: Semaphore::new(0) });
    let routes = Router::new().route("/v1/customers/{id}", get(lookup)).route("/v1/messages", post(send));
    let site = Site::start(routes.with_state(Arc::clone(&api))).await;
    let origin = site.origin();
    let allow: &'static str = Box::leak(format!("calls.allow={origin}").into_boxed_str());
    let mut coordinator = Coordinator::start_with(&[allow]).await;
    let operator = Operator::of(&coordinator);
    let verbs = json!({
        "lookup": {
            "method": "GET", "origin": origin, "path": "/v1/customers/{id}",
            "headers": { "authorization": "Bearer {secret:crm_key}" },
            "slots": { "id": { "type": "id", "bytes_max": 64 } },
            "answer": { "tier": { "at": "/tier", "type": "enum", "values": ["gold", "basic"] } },
            "effect": "safe", "budget": { "per_run": 10 },
        },
        "send": {
            "method": "POST", "origin": origin, "path": "/v1/messages", "json": { "to": "{to}" },
            "slots": { "to": { "type": "id", "bytes_max": 64 } },
            "effect": "at_most_once", "budget": { "per_run": 10 },
        },
    });
    let job = jobs::caller("caller", verbs);
    let module = operator.write("caller.wasm", &job.module);
    let offline: Value = serde_json::from_str(&operator.reads(&["plan", &module, "--json"])).expect("JSON");
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: Value = serde_json::from_str(&operator.reads(&["plan", "caller", "--json"])).expect("JSON");
    assert_eq!((&plan["digest"], &plan["page"]), (&offline["digest"], &offline["page"]), "the same before and after");
    assert_eq!(plan["approved"], false);

    let _runners = coordinator.runners(2).await;
    let look = json!([{ "verb": "lookup", "slots": { "id": "ann" } }]).to_string();
    let look = operator.write("look.json", look);
    let asks = || operator.reads(&["invoke", "caller", "--input", &look]);
    assert_eq!(asks().trim(), r#"[{"fault":"refused"}]"#, "nobody approved it");

    let digest = plan["digest"].as_str().expect("a digest").to_owned();
    let another = "0".repeat(64);
    let refused = operator.complains(2, &["plan", "approve", "caller", "--yes", "--digest", &another]);
    assert!(refused.contains("nothing was approved"), "{refused}");
    operator.complains(2, &["plan", "approve", "caller"]);
    assert_eq!(asks().trim(), r#"[{"fault":"refused"}]"#);
    let page = operator.reads(&["plan", "approve", "caller", "--yes", "--digest", &digest]);
    assert!(page.contains(&origin) && page.contains("crm_key"), "{page}");

    let key = operator.write("crm.key", "crm-secret\n");
    let said = operator.says(&["secret", "set", "crm_key", "--origin", &origin, "--file", &key]);
    assert!(said.status.success() && !String::from_utf8_lossy(&said.stderr).contains("crm-secret"));
    assert!(operator.reads(&["secret", "list"]).contains(&format!("crm_key  {origin}")));
    assert_eq!(asks().trim(), r#"[{"status":200,"answer":{"tier":"gold"}}]"#);
    operator.reads(&["secret", "remove", "crm_key"]);
    assert_eq!(asks().trim(), r#"[{"fault":"refused"}]"#, "its secret is gone");

    // A call that a crash interrupts waits for a person's word.
    let letter = operator.write("letter.json", json!([{ "verb": "send", "slots": { "to": "ann" } }]).to_string());
    let run = operator.reads(&["submit", "caller", "--input", &letter]);
    let sent = || api.letters.load(Ordering::SeqCst);
    until("the letter is on its way", async || (sent() == 1).then_some(())).await;
    coordinator.kill();
    coordinator.restart().await;
    let listed = async || {
        let listed: Value = serde_json::from_str(&operator.reads(&["calls", "--json"])).expect("JSON");
        listed["calls"][0]["id"].as_str().map(str::to_owned)
    };
    let id = until("the call is listed", listed).await;
    let text = operator.reads(&["calls"]);
    assert!(text.contains(&id) && text.contains(run.trim()) && text.contains("send"), "{text}");
    operator.reads(&["calls", "settle", &id, "--let-go"]);
    let results = operator.reads(&["results", run.trim(), "--format", "frames"]);
    assert!(results.contains(r#"[{"fault":"unknown"}]"#), "{results}");
    assert_eq!((sent(), operator.reads(&["calls"]).as_str()), (1, ""));
    assert!(operator.complains(2, &["calls", "settle", &id, "--not-made"]).contains("over"), "once and for all");

    operator.reads(&["plan", "revoke", "caller"]);
    assert_eq!(asks().trim(), r#"[{"fault":"refused"}]"#);
}
