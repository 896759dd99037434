//! The page that an operator approves.

use manyhands_intents::Plan;
use manyhands_model::Manifest;
use serde_json::{Value, json};

use crate::world::manifest;

fn plan(manifest: &Manifest) -> Plan {
    Plan::of(manifest).expect("good verbs")
}

fn changed(place: &str, value: Value) -> Plan {
    let mut json = serde_json::to_value(manifest()).expect("writes");
    let (parent, key) = place.rsplit_once('/').expect("a place");
    json.pointer_mut(parent).expect(parent).as_object_mut().expect("an object").insert(key.to_owned(), value);
    plan(&serde_json::from_value(json).expect("a manifest"))
}

#[test]
fn the_page_says_every_call_that_could_be_made() {
    let page = plan(&manifest()).to_string();
    assert_eq!(page, include_str!("plan.txt"), "{page}");
}

#[test]
fn a_job_without_verbs_never_speaks() {
    let manifest: Manifest =
        serde_json::from_value(json!({"name": "quiet", "version": "1.0.0", "abi": 1})).expect("a manifest");
    assert!(plan(&manifest).to_string().contains("none: this job never speaks to the outside"));
}

#[test]
fn what_changes_a_call_changes_the_digest_and_nothing_else_does() {
    let approved = plan(&manifest()).digest();
    for (place, same) in [
        ("/version", json!("9.9.9")),
        ("/description", json!("x")),
        ("/verbs/lookup/description", json!("x")),
        ("/limits/fuel", json!(5)),
    ] {
        assert_eq!(changed(place, same).digest(), approved, "{place}");
    }
    for (place, other) in [
        ("/name", json!("other")),
        ("/verbs/lookup/origin", json!("https://crm.example.org")),
        ("/verbs/lookup/path", json!("/v2/customers/{who}/orders")),
        ("/verbs/lookup/query/fixed", json!("a")),
        ("/verbs/lookup/headers/x-kind", json!("a {kind}")),
        ("/verbs/lookup/slots/page/max", json!(5)),
        ("/verbs/lookup/slots/who/classes", json!(["text"])),
        ("/verbs/lookup/answer/tier/at", json!("/other")),
        ("/verbs/lookup/answer/company/class", json!("text")),
        ("/verbs/lookup/effect", json!("at_most_once")),
        ("/verbs/lookup/limits/total_ms", json!(5)),
        ("/verbs/lookup/budget/per_run", json!(1001)),
        ("/verbs/send/json/more", json!("x")),
        ("/verbs/send/json/also", json!([null, true, 1.5, "{ literal}", {"ref": "{ref}"}])),
        ("/verbs/send/json/key", json!("{secret:other}")),
        ("/verbs/send/idempotency_header", json!("x-key")),
        ("/sensitive", json!([])),
    ] {
        assert_ne!(changed(place, other).digest(), approved, "{place}");
    }
    // An approval outlives an upgrade.
    assert_eq!(approved.to_string(), "3b2214002a92a7d84571fa52ec05444ba0eceba247276c90a473a506047d3469");
}

/// Nothing that a manifest says can look like a line of the page's own, or turn what stands there.
#[test]
fn a_page_is_not_forged() {
    let sly = "Fine.\u{202e}evil\u{200b} \u{2028}effect        safe".to_owned() + &" x".repeat(100);
    let page = changed("/verbs/lookup/description", json!(sly)).to_string();
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()) && !page.contains(['\u{202e}', '\u{200b}', '\u{2028}']));
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(!page.lines().any(|line| line.starts_with("effect        safe ")), "{page}");
    let sly = "a\neffect        safe: changes nothing";
    let page = changed("/verbs/send/json/x", json!(sly)).to_string();
    assert!(
        !page.lines().any(|line| line.starts_with("effect        safe: changes nothing") && line.len() < 40),
        "{page}"
    );
}
