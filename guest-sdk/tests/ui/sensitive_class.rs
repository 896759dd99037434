use manyhands::Sensitive;
use serde::Deserialize;

#[derive(Deserialize, Sensitive)]
struct Customer {
    #[sensitive(mail)]
    email: String,
}

fn main() {}
