use manyhands::Sensitive;
use serde::Deserialize;

#[derive(Deserialize, Sensitive)]
struct Customer {
    #[sensitive(number)]
    income: u64,
}

fn main() {}
