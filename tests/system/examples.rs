//! The examples that call APIs, with APIs to call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use manyhands_api::PlanView;
use manyhands_model::Class;
use manyhands_tests::{Coordinator, Site, examples, workspace};
use reqwest::Method;
use serde_json::{Value, json};

/// A coordinator that may reach this site, with an example that calls it, approved.
async fn coordinator(name: &str, site: &Site) -> Coordinator {
    let job = examples::calling(name, &site.origin());
    let allow: &'static str = Box::leak(format!("calls.allow={}", site.origin()).into_boxed_str());
    let coordinator = Coordinator::start_with(&[allow]).await;
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let plan: PlanView = coordinator.get(&format!("/v1/jobs/{name}/plan")).await.expect("a plan");
    put(&coordinator, &format!("/v1/plans/{}", plan.digest), Value::Null).await;
    coordinator
}

async fn put(coordinator: &Coordinator, path: &str, body: Value) {
    let answer = coordinator.request(Method::PUT, path).json(&body).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
}

fn lines(job: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(workspace().join("jobs").join(job).join("inputs.jsonl")).expect("inputs");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

async fn outputs(coordinator: &Coordinator, job: &str, inputs: &[Value]) -> Vec<Value> {
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|input| input.to_string().into_bytes()).collect();
    let run = coordinator.submit(&format!("{job}&replicas=3&replicas_max=3"), &inputs).await.expect("submitted");
    let outputs = coordinator.outputs(run.id).await;
    outputs.iter().map(|output| serde_json::from_slice(output).expect("JSON")).collect()
}

#[tokio::test]
async fn customers_are_written_to_by_a_job_that_sees_none_of_them() {
    /// Letters by their idempotency keys.
    type Letters = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;
    let letters = Letters::default();
    let account = async |headers: HeaderMap, Query(by): Query<BTreeMap<String, String>>| {
        assert_eq!(headers["authorization"], "Bearer key of crm_key");
        let company = format!("The company of {}", by["email"]);
        Json(json!({ "company": { "name": company }, "tier": "gold", "contract": { "renews_on": "2027-03-01" } }))
    };
    let kept = Arc::clone(&letters);
    let send = async move |headers: HeaderMap, Json(letter): Json<Value>| {
        assert_eq!(headers["authorization"], "Bearer key of mail_key");
        let key = headers["idempotency-key"].to_str().expect("text").to_owned();
        let mut letters = kept.lock().expect("not poisoned");
        letters.entry(key).or_default().push(letter);
        Json(json!({ "id": format!("m-{}", letters.len()) }))
    };
    let site =
        Site::start(Router::new().route("/crm/accounts", get(account)).route("/mail/messages", post(send))).await;
    let coordinator = coordinator("crm-enrich", &site).await;
    for name in ["crm_key", "mail_key"] {
        let secret = json!({ "origin": site.origin(), "secret": format!("key of {name}") });
        put(&coordinator, &format!("/v1/secrets/{name}"), secret).await;
    }
    let _runners = coordinator.runners(3).await;

    let customers = &lines("crm-enrich")[..8];
    let contacts = outputs(&coordinator, "crm-enrich", customers).await;
    let letters = letters.lock().expect("not poisoned");
    assert!(letters.values().all(|sent| sent.len() == 1), "each is sent once, however many execute the job");
    assert_eq!(letters.len(), customers.len());
    for (customer, contact) in customers.iter().zip(&contacts) {
        let text = |key: &str| customer[key].as_str().expect("text");
        let company = format!("The company of {}", text("email"));
        assert_eq!((&contact["id"], &contact["company"]), (&customer["id"], &json!(company)));
        let letter = letters.values().flatten().find(|letter| letter["to"] == customer["email"]).expect("a letter");
        let begin = format!("Dear {},\n\nthe contract of {company} renews on 2027-03-01. ", text("name"));
        let said = letter["text"].as_str().expect("text");
        assert!(said.starts_with(&begin) && said.contains(text("phone")), "{said}");
    }
}

#[tokio::test]
async fn what_an_examples_types_call_sensitive_is_what_its_manifest_declares() {
    let job = examples::calling("crm-enrich", "http://127.0.0.1:1");
    let declared = job.manifest.sensitive.iter().map(|field| (field.at.to_string(), field.class));
    let expected = [("$.name", Class::Name), ("$.email", Class::Email), ("$.phone", Class::Phone)];
    assert_eq!(declared.collect::<Vec<_>>(), expected.map(|(at, class)| (at.to_owned(), class)));
}

#[tokio::test]
async fn shops_are_asked_once_each_and_one_that_fails_is_named() {
    let price = async |Path((shop, _)): Path<(String, String)>| match shop.as_str() {
        "north" => Ok(Json(json!({ "price": { "cents": 2_600 }, "in_stock": true }))),
        "south" => Ok(Json(json!({ "price": { "cents": 1_700 }, "in_stock": true, "more": "not declared" }))),
        _ => Err(StatusCode::NOT_FOUND),
    };
    let site = Site::start(Router::new().route("/shops/{shop}/products/{product}", get(price))).await;
    let coordinator = coordinator("price-watch", &site).await;
    let _runners = coordinator.runners(3).await;
    let watches = lines("price-watch");
    let reports = outputs(&coordinator, "price-watch", &watches).await;
    let silent = json!({ "corner": { "fault": "status", "status": 404 } });
    let south = json!({ "shop": "south", "cents": 1_700 });
    assert_eq!(
        reports,
        [
            json!({ "product": "desk-lamp", "best": south, "buy": true, "silent": silent }),
            json!({ "product": "kettle", "best": south, "buy": true, "silent": silent }),
            json!({ "product": "bookend", "best": { "shop": "north", "cents": 2_600 }, "buy": false, "silent": silent }),
        ]
    );
    let mut asked = site.asked();
    asked.sort();
    let mut expected: Vec<String> = Vec::new();
    for watch in &watches {
        let shops = watch["shops"].as_array().expect("shops").iter();
        expected.extend(shops.map(|shop| {
            format!("/shops/{}/products/{}", shop.as_str().expect("text"), watch["product"].as_str().expect("text"))
        }));
    }
    expected.sort();
    assert_eq!(asked, expected);
}
