//! Writes to customers about their contracts, without seeing who they are.
//!
//! A customer is looked up in a CRM by e-mail address, and gets a letter by what is found there. The one who executes this sees tokens in
//! the place of names, addresses and phones, and so does this code; the coordinator puts the values into the two calls that
//! `Cargo.toml` declares, and makes each of them once.

use manyhands::token::{Email, Name, Phone, Token};
use manyhands::{Draft, Fault, Sensitive, call, draft};
use serde::{Deserialize, Serialize};

/// A customer to write to.
#[derive(Debug, Deserialize, Sensitive)]
pub struct Customer {
    /// The customer's number; it tells nobody who that is.
    pub id: String,
    /// First and last name.
    pub name: Token<Name>,
    /// Where the letter goes, and by what the CRM knows the customer.
    pub email: Token<Email>,
    /// Where the customer likes to be called.
    pub phone: Token<Phone>,
}

/// A customer who was written to.
#[derive(Debug, Serialize)]
pub struct Contact {
    /// As in the input.
    pub id: String,
    /// For whom the customer works.
    pub company: Token<Name>,
    /// The letter's number.
    pub message: String,
}

/// What the CRM knows, as far as the verb `lookup` lets it in.
#[derive(Deserialize)]
struct Account {
    company: Token<Name>,
    tier: Tier,
    renews_on: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tier {
    Gold,
    Basic,
}

#[derive(Serialize)]
struct Lookup {
    email: Token<Email>,
}

#[derive(Serialize)]
struct Letter {
    to: Token<Email>,
    text: Draft,
}

#[derive(Deserialize)]
struct Sent {
    message: String,
}

/// Looks a customer up and writes to them.
#[manyhands::job]
pub fn enrich(customer: Customer) -> Result<Contact, Fault> {
    let account: Account = call("lookup", Lookup { email: customer.email })?;
    let sent: Sent = call("send", Letter { to: customer.email, text: letter(&customer, &account) })?;
    Ok(Contact { id: customer.id, company: account.company, message: sent.message })
}

fn letter(customer: &Customer, account: &Account) -> Draft {
    let offer = match account.tier {
        Tier::Gold => "As a gold customer you keep last year's price.",
        Tier::Basic => "If you renew for two years, the second is half the price.",
    };
    draft!(
        "Dear {},\n\nthe contract of {} renews on {}. {offer}\n\nMay we call you about it, at {}?\n",
        customer.name,
        account.company,
        account.renews_on,
        customer.phone,
    )
}

#[cfg(test)]
mod tests {
    use manyhands::testing::{self, token, with_calls};
    use serde_json::{Value, json};

    use super::*;

    fn ann() -> Customer {
        Customer {
            id: "c-1".into(),
            name: token("Ann Lee"),
            email: token("ann@example.com"),
            phone: token("+1 212 555 0100"),
        }
    }

    /// A CRM in which everybody is of this tier, and an office that sends what it is given.
    fn api(tier: &'static str) -> impl FnMut(&str, &str) -> Result<String, Fault> {
        move |verb, slots| {
            let slots: Value = serde_json::from_str(slots).expect("JSON");
            let email = json!(token::<Email>("ann@example.com"));
            let answer = match verb {
                "lookup" => {
                    assert_eq!(slots, json!({ "email": email }));
                    json!({ "company": token::<Name>("Acme"), "tier": tier, "renews_on": "2027-03-01" })
                }
                _ => {
                    assert_eq!((verb, &slots["to"]), ("send", &email));
                    json!({ "message": letter_number(slots["text"].as_str().expect("a text")) })
                }
            };
            Ok(answer.to_string())
        }
    }

    /// Says what is in a letter.
    fn letter_number(text: &str) -> String {
        let name = json!(token::<Name>("Ann Lee"));
        let begins_well = text.starts_with(&format!("Dear {},\n", name.as_str().expect("a text")));
        format!(
            "{}-{}",
            if begins_well { "polite" } else { "rude" },
            if text.contains("gold") { "gold" } else { "basic" }
        )
    }

    #[test]
    fn a_customer_is_written_to_by_name_and_by_tier() {
        for tier in ["gold", "basic"] {
            let contact = with_calls(api(tier), || enrich(ann())).expect("written to");
            assert_eq!(contact.message, format!("polite-{tier}"));
            assert_eq!(json!(contact)["company"], json!(token::<Name>("Acme")));
        }
    }

    #[test]
    fn whom_the_crm_does_not_know_gets_no_letter() {
        let unknown = |verb: &str, _: &str| {
            assert_eq!(verb, "lookup");
            Err(Fault::Status { status: 404 })
        };
        assert_eq!(with_calls(unknown, || enrich(ann())).expect_err("nobody"), Fault::Status { status: 404 });
    }

    #[test]
    fn nobody_sees_a_name_an_address_or_a_phone() {
        let declared: Value = serde_json::from_str(&testing::sensitive::<Customer>()).expect("JSON");
        let expected = json!([
            { "at": "$.name", "class": "name" },
            { "at": "$.email", "class": "email" },
            { "at": "$.phone", "class": "phone" },
        ]);
        assert_eq!(declared, expected);
    }
}
