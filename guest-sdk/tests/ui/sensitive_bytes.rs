use manyhands::Sensitive;
use manyhands::token::{Email, Token};
use serde::Deserialize;

#[derive(Deserialize, Sensitive)]
struct Customer {
    email: Token<Email>,
}

#[manyhands::job(codec = "postcard")]
fn look(_: Customer) {}

fn main() {}
