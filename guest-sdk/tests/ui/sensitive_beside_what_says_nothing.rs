use manyhands::Sensitive;
use serde::Deserialize;

#[derive(Deserialize, Sensitive)]
pub struct Customer {
    #[sensitive(email)]
    email: String,
}

#[derive(Deserialize)]
pub struct Terms {
    days: u32,
}

#[manyhands::job]
pub fn write(input: (Customer, Terms)) -> Result<String, String> {
    Ok(format!("{} {}", input.0.email, input.1.days))
}

fn main() {}
