use manyhands::Sensitive;
use manyhands::token::{Email, Token};
use serde::Deserialize;

#[derive(Deserialize)]
struct Address {
    email: Token<Email>,
}

#[derive(Deserialize, Sensitive)]
struct Customer {
    address: Address,
}

fn main() {}
